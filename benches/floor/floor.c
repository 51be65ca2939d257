/* The floor: what the kernel alone takes for `run`. The same namespaces, mounts, masks, cgroups, limits, filter and
 * capabilities as a container of the two bundles of the benchmark has, and nothing else: no JSON, no state, no checks, no
 * errors explained. tests/cli/floor.rs compares what a program sees in it with what it sees in minicon's container.
 *
 *   floor spec|real BUNDLE NAME PROGRAM [ARGUMENT]...
 *
 * It is a measure, so it stays as it is: a change is told in docs/decisions/0021-the-benchmark.md, with its date.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define must(call) ({ long got = (long)(call); if (got < 0) { perror("floor: " #call); exit(1); } got; })
#define count_of(array) (sizeof(array) / sizeof *(array))
#define CGROUP2_MAGIC 0x63677270
#define SAFE (MS_NOSUID | MS_NOEXEC | MS_NODEV)

/* The hierarchies of cgroup v1; those that are not there are left out, all of them where only cgroup2 is mounted. */
enum { SYSTEMD, PIDS, BLKIO, FREEZER, DEVICES, MEMORY, CPUSET, CPUACCT, CPU, HIERARCHIES };
static const char *v1[HIERARCHIES] = {"systemd", "pids", "blkio", "freezer", "devices", "memory", "cpuset", "cpuacct", "cpu"};
static char cgroups[HIERARCHIES][256], unified[256];
static int tasks[HIERARCHIES], v2, real, cgroup_namespace;

struct mount {
	const char *at, *type, *source, *data;
	unsigned long flags;
};

static const struct mount spec_mounts[] = {
	{"proc", "proc", "proc", NULL, 0},
	{"dev", "tmpfs", "tmpfs", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME},
	{"dev/pts", "devpts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC},
	{"dev/shm", "tmpfs", "shm", "mode=1777,size=65536k", SAFE},
	{"dev/mqueue", "mqueue", "mqueue", NULL, SAFE},
	{"sys", "sysfs", "sysfs", NULL, SAFE | MS_RDONLY},
	{"sys/fs/cgroup", "cgroup", "cgroup", NULL, SAFE | MS_RELATIME | MS_RDONLY},
};

static const struct mount real_mounts[] = {
	{"proc", "proc", "proc", NULL, SAFE},
	{"dev", "tmpfs", "tmpfs", "mode=755,size=65536k", MS_NOSUID | MS_NOEXEC | MS_STRICTATIME},
	{"sys", "sysfs", "sysfs", NULL, SAFE | MS_RDONLY},
	{"dev/pts", "devpts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC},
	{"dev/mqueue", "mqueue", "mqueue", NULL, SAFE},
	{"etc/hosts", "bind", "hosts", NULL, 0},
	{"dev/shm", "bind", "shm", NULL, SAFE},
	{"run/.containerenv", "bind", ".containerenv", NULL, 0},
	{"etc/hostname", "bind", "hostname", NULL, 0},
	{"etc/resolv.conf", "bind", "resolv.conf", NULL, 0},
	{"sys/fs/cgroup", "cgroup", "cgroup", NULL, SAFE | MS_RELATIME | MS_RDONLY},
	{"tmp", "tmpfs", "tmpfs", "mode=1777,size=65536k", MS_NOSUID | MS_NODEV},
};

/* Those that this kernel does not have are left out. */
static const char *spec_masked_files[] = {"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
	"/proc/timer_stats", "/proc/sched_debug"};
static const char *spec_masked_directories[] = {"/proc/acpi", "/proc/asound", "/sys/firmware", "/proc/scsi"};
static const char *spec_read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
static const char *real_masked_directories[] = {"/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/fs/selinux", "/sys/dev/block"};
static const char *real_read_only[] = {"/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};

static const int spec_capabilities[] = {CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE};
static const int real_capabilities[] = {CAP_AUDIT_WRITE, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_MKNOD,
	CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SETFCAP, CAP_SETGID, CAP_SETPCAP, CAP_SETUID, CAP_SYS_CHROOT};

/* What may be used of character devices, after `deny all`; -1 is any. All may be made. */
static const struct { int major, minor; } devices[] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}, {10, 200}, {136, -1}};

static void put(const char *directory, const char *file, const char *value)
{
	char path[300];
	snprintf(path, sizeof path, "%s/%s", directory, file);
	int fd = must(open(path, O_WRONLY | O_CLOEXEC));
	must(write(fd, value, strlen(value)));
	close(fd);
}

/* A new cpuset has nothing in it, and takes nobody until it has. */
static void copy_of_parent(const char *directory, const char *file)
{
	char path[300], value[256];
	snprintf(path, sizeof path, "/sys/fs/cgroup/cpuset/%s", file);
	int fd = must(open(path, O_RDONLY | O_CLOEXEC));
	value[must(read(fd, value, sizeof value - 1))] = 0;
	close(fd);
	put(directory, file, value);
}

static void load_filter(void)
{
	/* As many instructions as minicon makes of this profile for the native architecture, of which a call takes as many
	 * as it takes there on the way: what loading costs depends on that. All calls are allowed. */
	enum { LENGTH = 286, PATH = 11 };
	struct sock_filter filter[LENGTH];
	filter[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	filter[1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	filter[2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	filter[3] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int i = 4; i < LENGTH - 1; i++)
		filter[i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 1000 + i, 0, 0);
	filter[PATH - 2] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, LENGTH - 1 - (PATH - 2) - 1);
	filter[LENGTH - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {LENGTH, filter};
	must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

static void keep_capabilities(const int *kept, size_t count)
{
	unsigned long long mask = 0;
	for (size_t i = 0; i < count; i++)
		mask |= 1ULL << kept[i];
	for (int i = 0; prctl(PR_CAPBSET_READ, i) >= 0; i++)
		if (!(mask >> i & 1))
			must(prctl(PR_CAPBSET_DROP, i));
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{mask, mask, 0}, {mask >> 32, mask >> 32, 0}};
	must(syscall(SYS_capset, &header, data));
}

static void mount_cgroups(void)
{
	if (v2) {
		must(mount("cgroup", "sys/fs/cgroup", "cgroup2", SAFE | MS_RELATIME | MS_RDONLY, NULL));
		return;
	}
	must(mount("tmpfs", "sys/fs/cgroup", "tmpfs", SAFE, "mode=755"));
	for (int i = 0; i < HIERARCHIES; i++) {
		if (!*cgroups[i])
			continue;
		char at[64];
		snprintf(at, sizeof at, "sys/fs/cgroup/%s", v1[i]);
		must(mkdir(at, 0755));
		if (cgroup_namespace) {
			must(mount("cgroup", at, "cgroup", SAFE | MS_RELATIME | MS_RDONLY, i == SYSTEMD ? "none,name=systemd" : v1[i]));
		} else {
			must(mount(cgroups[i], at, NULL, MS_BIND, NULL));
			must(mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | SAFE | MS_RELATIME, NULL));
		}
	}
	must(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | SAFE, NULL));
}

static void furnish(const char *bundle, const struct mount *mounts, size_t count)
{
	char source[512];
	for (const struct mount *m = mounts; m < mounts + count; m++) {
		if (!strcmp(m->type, "cgroup")) {
			mount_cgroups();
		} else if (!strcmp(m->type, "bind")) {
			snprintf(source, sizeof source, "%s/%s", bundle, m->source);
			if (m->flags) {
				must(mkdir(m->at, 0755));
			} else {
				close(must(open(m->at, O_RDONLY | O_CREAT | O_CLOEXEC, 0644)));
			}
			must(mount(source, m->at, NULL, MS_BIND, NULL));
			must(mount(NULL, m->at, NULL, MS_PRIVATE, NULL));
			if (m->flags)
				must(mount(NULL, m->at, NULL, MS_REMOUNT | MS_BIND | m->flags, NULL));
		} else {
			if (!strncmp(m->at, "dev/", 4))
				must(mkdir(m->at, 0755));
			/* Only this mount is read-only, not the file system. */
			must(mount(m->source, m->at, m->type, m->flags & ~MS_RDONLY, m->data));
			if (m->flags & MS_RDONLY)
				must(mount(NULL, m->at, NULL, MS_REMOUNT | MS_BIND | m->flags, NULL));
		}
	}
}

static void make_devices(void)
{
	static const struct { const char *name; int major, minor; } nodes[] = {
		{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
	static const char *links[][2] = {{"pts/ptmx", "dev/ptmx"}, {"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"},
		{"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"}};
	umask(0);
	for (size_t i = 0; i < count_of(nodes); i++)
		must(mknod(nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
	for (size_t i = 0; i < count_of(links); i++)
		must(symlink(links[i][0], links[i][1]));
	if (access("/proc/kcore", F_OK) == 0)
		must(symlink("/proc/kcore", "dev/core"));
	umask(022);
}

static void mask(const char **files, size_t file_count, const char **directories, size_t directory_count)
{
	for (size_t i = 0; i < file_count; i++)
		if (mount("/dev/null", files[i], NULL, MS_BIND, NULL) && errno != ENOENT)
			must(-1);
	for (size_t i = 0; i < directory_count; i++)
		if (mount("none", directories[i], "tmpfs", MS_RDONLY, NULL) && errno != ENOENT)
			must(-1);
}

static void make_read_only(const char **paths, size_t count, unsigned long kept)
{
	for (size_t i = 0; i < count; i++) {
		if (mount(paths[i], paths[i], NULL, MS_BIND | MS_REC, NULL)) {
			if (errno != ENOENT)
				must(-1);
			continue;
		}
		must(mount(NULL, paths[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | kept, NULL));
	}
}

static void build_root(const char *bundle)
{
	char root[512];
	snprintf(root, sizeof root, "%s/rootfs", bundle);
	must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
	must(mount(root, root, NULL, MS_BIND | MS_REC, NULL));
	must(chdir(root));
	if (real)
		furnish(bundle, real_mounts, count_of(real_mounts));
	else
		furnish(bundle, spec_mounts, count_of(spec_mounts));
	make_devices();
	must(syscall(SYS_pivot_root, ".", "."));
	must(umount2(".", MNT_DETACH));
	must(chdir("/"));
	if (real) {
		make_read_only(real_read_only, count_of(real_read_only), SAFE);
		mask(spec_masked_files, count_of(spec_masked_files), real_masked_directories, count_of(real_masked_directories));
	} else {
		must(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
		make_read_only(spec_read_only, count_of(spec_read_only), 0);
		mask(spec_masked_files, count_of(spec_masked_files), spec_masked_directories, count_of(spec_masked_directories));
	}
}

static void bring_lo_up(void)
{
	int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK};
	must(ioctl(fd, SIOCSIFFLAGS, &lo));
	close(fd);
}

static void contain(const char *bundle, char **program)
{
	/* A task that writes 0 to `tasks` moves itself, and waits for no grace period, unlike with cgroup.procs. */
	for (int i = 0; i < HIERARCHIES; i++)
		if (*cgroups[i])
			must(write(tasks[i], "0", 1));
	must(setsid());
	if (cgroup_namespace)
		must(unshare(CLONE_NEWCGROUP));
	must(sethostname(real ? "123456789abc" : "minicon", real ? 12 : 7));
	bring_lo_up();
	build_root(bundle);
	must(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "floor"));
	struct rlimit files = {1024, 1024};
	must(setrlimit(RLIMIT_NOFILE, &files));
	if (real) {
		load_filter();
		keep_capabilities(real_capabilities, count_of(real_capabilities));
	} else {
		keep_capabilities(spec_capabilities, count_of(spec_capabilities));
		must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	}
	static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", NULL};
	execve(program[0], program, environment);
	perror(program[0]);
	_exit(127);
}

static int bpf(int command, union bpf_attr *attributes)
{
	return must(syscall(SYS_bpf, command, attributes, sizeof *attributes));
}

/* The rules for devices on cgroup v2: a program that is asked at each use. */
static void attach_device_program(int cgroup)
{
	struct bpf_insn program[96], *next = program;
#define LOAD(to, field) (struct bpf_insn){BPF_LDX | BPF_MEM | BPF_W, to, 1, offsetof(struct bpf_cgroup_dev_ctx, field), 0}
#define UNLESS(register, value, skip) (struct bpf_insn){BPF_JMP | BPF_JNE | BPF_K, register, 0, skip, value}
#define RESULT(value) (struct bpf_insn){BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, value}
#define END (struct bpf_insn){BPF_JMP | BPF_EXIT, 0, 0, 0, 0}
	*next++ = LOAD(2, access_type);
	*next++ = (struct bpf_insn){BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0};
	*next++ = (struct bpf_insn){BPF_ALU | BPF_RSH | BPF_K, 3, 0, 0, 16};
	*next++ = UNLESS(3, BPF_DEVCG_ACC_MKNOD, 2);
	*next++ = RESULT(1);
	*next++ = END;
	*next++ = (struct bpf_insn){BPF_ALU | BPF_AND | BPF_K, 2, 0, 0, 0xffff};
	*next++ = LOAD(4, major);
	*next++ = LOAD(5, minor);
	for (size_t i = 0; i < count_of(devices); i++) {
		int any = devices[i].minor < 0;
		*next++ = UNLESS(2, BPF_DEVCG_DEV_CHAR, any ? 3 : 4);
		*next++ = UNLESS(4, devices[i].major, any ? 2 : 3);
		if (!any)
			*next++ = UNLESS(5, devices[i].minor, 2);
		*next++ = RESULT(1);
		*next++ = END;
	}
	*next++ = RESULT(0);
	*next++ = END;
	union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insn_cnt = next - program, .insns = (unsigned long)program,
		.license = (unsigned long)"Apache-2.0"};
	int fd = bpf(BPF_PROG_LOAD, &load);
	union bpf_attr attach = {.target_fd = cgroup, .attach_bpf_fd = fd, .attach_type = BPF_CGROUP_DEVICE, .attach_flags = BPF_F_ALLOW_MULTI};
	bpf(BPF_PROG_ATTACH, &attach);
	close(fd);
}

static void make_v1_cgroups(const char *name)
{
	for (int i = 0; i < HIERARCHIES; i++) {
		char path[300];
		struct stat it;
		snprintf(path, sizeof path, "/sys/fs/cgroup/%s", v1[i]);
		if (lstat(path, &it) || !S_ISDIR(it.st_mode))
			continue;
		snprintf(cgroups[i], sizeof cgroups[i], "/sys/fs/cgroup/%s/%s", v1[i], name);
		must(mkdir(cgroups[i], 0755));
		if (i == CPUSET) {
			copy_of_parent(cgroups[i], "cpuset.cpus");
			copy_of_parent(cgroups[i], "cpuset.mems");
		}
		snprintf(path, sizeof path, "%s/tasks", cgroups[i]);
		tasks[i] = must(open(path, O_WRONLY | O_CLOEXEC));
	}
	put(cgroups[DEVICES], "devices.deny", "a");
	put(cgroups[DEVICES], "devices.allow", "c *:* m");
	put(cgroups[DEVICES], "devices.allow", "b *:* m");
	for (size_t i = 0; i < count_of(devices); i++) {
		char rule[32], minor[12] = "*";
		if (devices[i].minor >= 0)
			snprintf(minor, sizeof minor, "%d", devices[i].minor);
		snprintf(rule, sizeof rule, "c %d:%s rwm", devices[i].major, minor);
		put(cgroups[DEVICES], "devices.allow", rule);
	}
	if (real) {
		put(cgroups[MEMORY], "memory.limit_in_bytes", "268435456");
		put(cgroups[PIDS], "pids.max", "2048");
		put(cgroups[CPU], "cpu.cfs_period_us", "100000");
		put(cgroups[CPU], "cpu.cfs_quota_us", "100000");
	}
}

/* No limits here: where this was written, the cgroup2 tree had no controllers for them. */
static int make_v2_cgroup(const char *name)
{
	snprintf(unified, sizeof unified, "/sys/fs/cgroup/%s", name);
	must(mkdir(unified, 0755));
	int fd = must(open(unified, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	attach_device_program(fd);
	return fd;
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return fprintf(stderr, "usage: floor spec|real BUNDLE NAME PROGRAM [ARGUMENT]...\n"), 2;
	real = !strcmp(argv[1], "real");
	struct statfs top;
	must(statfs("/sys/fs/cgroup", &top));
	v2 = top.f_type == CGROUP2_MAGIC;
	cgroup_namespace = v2 || real; /* On v1 `spec` asks for none. */
	int cgroup = 0;
	if (v2)
		cgroup = make_v2_cgroup(argv[3]);
	else
		make_v1_cgroups(argv[3]);
	struct clone_args how = {
		.flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | (v2 ? CLONE_INTO_CGROUP : 0),
		.exit_signal = SIGCHLD, .cgroup = cgroup};
	pid_t pid = must(syscall(SYS_clone3, &how, sizeof how));
	if (pid == 0)
		contain(argv[2], argv + 4);
	int status;
	must(waitpid(pid, &status, 0));
	if (v2)
		must(rmdir(unified));
	for (int i = 0; i < HIERARCHIES; i++)
		if (*cgroups[i])
			must(rmdir(cgroups[i]));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
