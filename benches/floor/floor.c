/* The floor: what the kernel alone takes for `run /bin/true`. The same namespaces, mounts, masks, cgroups, filter and
 * capabilities as a container runtime makes, and nothing else: no JSON, no state, no checks.
 *
 *   floor spec|real ROOTFS NAME PROGRAM     FLOOR_DUMP=1 prints what was done, for the check of its effect
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define must(call) ({ long got = (long)(call); if (got < 0) { perror(#call); exit(1); } got; })
#define CGROUP2_MAGIC 0x63677270

static const char *v1[] = {"systemd", "pids", "blkio", "freezer", "devices", "memory", "cpuset", "cpuacct", "cpu"};
#define HIERARCHIES (sizeof v1 / sizeof *v1)
static char cgroups[HIERARCHIES + 1][256];
static int count, tasks[HIERARCHIES], real;

static void put(const char *directory, const char *file, const char *value)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", directory, file);
	int fd = must(open(path, O_WRONLY | O_CLOEXEC));
	must(write(fd, value, strlen(value)));
	close(fd);
}

static void get(const char *file, char *value, size_t size)
{
	int fd = must(open(file, O_RDONLY | O_CLOEXEC));
	ssize_t length = must(read(fd, value, size - 1));
	value[length] = 0;
	close(fd);
}

static void mount_at(const char *root, const char *at, const char *type, unsigned long flags, const char *data)
{
	char path[512];
	snprintf(path, sizeof path, "%s%s", root, at);
	mkdir(path, 0755);
	must(mount(type, path, type, flags, data));
}

static void load_filter(void)
{
	/* As many instructions as minicon makes of podman's profile, allowing all that `true` does. */
	enum { LENGTH = 286 };
	struct sock_filter filter[LENGTH] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	for (int i = 1; i < LENGTH - 1; i++)
		filter[i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 1000 + i, 0, LENGTH - 2 - i > 255 ? 0 : LENGTH - 2 - i);
	filter[LENGTH - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {LENGTH, filter};
	must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

static void keep_capabilities(void)
{
	static const int kept[] = {CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE};
	unsigned long long mask = 0;
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		mask |= 1ULL << kept[i];
	for (int i = 0; i <= CAP_LAST_CAP; i++)
		if (!(mask >> i & 1))
			prctl(PR_CAPBSET_DROP, i);
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{mask, mask, 0}, {0, 0, 0}};
	must(syscall(SYS_capset, &header, data));
}

static void build_root(const char *root)
{
	unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
	must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
	must(mount(root, root, NULL, MS_BIND | MS_REC, NULL));
	mount_at(root, "/proc", "proc", safe, NULL);
	mount_at(root, "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	mount_at(root, "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620");
	mount_at(root, "/dev/shm", "tmpfs", safe, "mode=1777,size=65536k");
	mount_at(root, "/dev/mqueue", "mqueue", safe, NULL);
	mount_at(root, "/sys", "sysfs", safe | MS_RDONLY, NULL);
	if (count == 1)
		mount_at(root, "/sys/fs/cgroup", "cgroup2", safe | MS_RDONLY, NULL);
	else {
		mount_at(root, "/sys/fs/cgroup", "tmpfs", safe, "mode=755");
		for (int i = 0; i < count; i++) {
			char at[64];
			snprintf(at, sizeof at, "/sys/fs/cgroup/%s", v1[i]);
			mount_at(root, at, "cgroup", safe | MS_RDONLY, i ? v1[i] : "none,name=systemd");
		}
		char path[512];
		snprintf(path, sizeof path, "%s/sys/fs/cgroup", root);
		must(mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, NULL));
	}
	if (real)
		for (int i = 0; i < 5; i++) { /* hosts, hostname, resolv.conf and the like */
			static const char *files[] = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/etc/localtime"};
			char path[512];
			snprintf(path, sizeof path, "%s%s", root, files[i]);
			close(must(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
			must(mount("/proc/version", path, NULL, MS_BIND, NULL));
		}
	must(chdir(root));
	umask(0);
	static const struct { const char *name; int major, minor; } nodes[] = {
		{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		must(mknod(nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
	static const char *links[][2] = {{"pts/ptmx", "dev/ptmx"}, {"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"},
		{"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"}};
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		must(symlink(links[i][0], links[i][1]));
	umask(022);
	must(syscall(SYS_pivot_root, ".", "."));
	must(umount2(".", MNT_DETACH));
	must(chdir("/"));
	static const char *read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"};
	for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
		must(mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL));
		must(mount(NULL, read_only[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, NULL));
	}
	static const char *masked_files[] = {"/proc/keys", "/proc/timer_list"}, *masked[] = {"/proc/acpi", "/sys/firmware"};
	for (size_t i = 0; i < 2; i++) {
		if (mount("/dev/null", masked_files[i], NULL, MS_BIND, NULL) && errno != ENOENT)
			must(-1);
		if (mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, NULL) && errno != ENOENT)
			must(-1);
	}
	if (!real)
		must(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
}

static void dump(void)
{
	char line[4096], copy[256];
	for (const char **file = (const char *[]){"/proc/self/cgroup", "/proc/self/mountinfo", "/proc/self/status", NULL}; *file; file++) {
		int fd = open(*file, O_RDONLY);
		for (ssize_t length; (length = read(fd, line, sizeof line)) > 0;)
			must(write(1, line, length));
	}
	must(gethostname(copy, sizeof copy));
	printf("hostname %s\n", copy);
	fflush(stdout);
}

static void contain(const char *root, const char *program)
{
	for (int i = 0; count > 1 && i < count; i++)
		must(write(tasks[i], "0", 1)); /* `tasks`: no grace period, unlike cgroup.procs */
	must(setsid());
	must(unshare(CLONE_NEWCGROUP));
	must(sethostname("floor", 5));
	int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK};
	must(ioctl(fd, SIOCSIFFLAGS, &lo));
	close(fd);
	build_root(root);
	if (getenv("FLOOR_DUMP"))
		dump();
	if (real)
		load_filter();
	keep_capabilities();
	if (!real)
		must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	execl(program, program, NULL);
	perror(program);
	_exit(127);
}

static void limit(void)
{
	static const char *devices[] = {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
		"c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"};
	if (count == 1) {
		if (real) {
			put(cgroups[0], "memory.max", "268435456");
			put(cgroups[0], "pids.max", "2048");
			put(cgroups[0], "cpu.max", "50000 100000");
		}
		return; /* The device program is not part of the floor on v2. */
	}
	put(cgroups[4], "devices.deny", "a");
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
		put(cgroups[4], "devices.allow", devices[i]);
	if (real) {
		put(cgroups[5], "memory.limit_in_bytes", "268435456");
		put(cgroups[1], "pids.max", "2048");
		put(cgroups[8], "cpu.cfs_period_us", "100000");
		put(cgroups[8], "cpu.cfs_quota_us", "50000");
	}
}

static void make_cgroups(const char *name)
{
	struct statfs top;
	must(statfs("/sys/fs/cgroup", &top));
	count = top.f_type == CGROUP2_MAGIC ? 1 : HIERARCHIES;
	for (int i = 0; i < count; i++) {
		if (count == 1)
			snprintf(cgroups[i], sizeof cgroups[i], "/sys/fs/cgroup/%s", name);
		else
			snprintf(cgroups[i], sizeof cgroups[i], "/sys/fs/cgroup/%s/%s", v1[i], name);
		must(mkdir(cgroups[i], 0755));
		if (count > 1 && !strcmp(v1[i], "cpuset")) {
			char value[256];
			get("/sys/fs/cgroup/cpuset/cpuset.cpus", value, sizeof value);
			put(cgroups[i], "cpuset.cpus", value);
			get("/sys/fs/cgroup/cpuset/cpuset.mems", value, sizeof value);
			put(cgroups[i], "cpuset.mems", value);
		}
		char path[300];
		snprintf(path, sizeof path, "%s/tasks", cgroups[i]);
		tasks[i] = must(open(count == 1 ? cgroups[i] : path, count == 1 ? O_RDONLY | O_CLOEXEC : O_WRONLY | O_CLOEXEC));
	}
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return fprintf(stderr, "usage: floor spec|real ROOTFS NAME PROGRAM\n"), 2;
	real = !strcmp(argv[1], "real");
	make_cgroups(argv[3]);
	limit();
	struct clone_args how = {
		.flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | (count == 1 ? CLONE_INTO_CGROUP : 0),
		.exit_signal = SIGCHLD, .cgroup = count == 1 ? tasks[0] : 0};
	pid_t pid = must(syscall(SYS_clone3, &how, sizeof how));
	if (pid == 0)
		contain(argv[2], argv[4]);
	int status;
	must(waitpid(pid, &status, 0));
	for (int i = 0; i < count; i++)
		must(rmdir(cgroups[i]));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
