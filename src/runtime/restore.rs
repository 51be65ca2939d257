//! `restore`: a new container whose processes criu makes from saved files, instead of init and the program.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags};

use super::checkpoint::{
    DESCRIPTORS, add_configuration_file, add_external, directories, name_of_external, open_root, resolve, shared_fields,
};
use super::create::{self, Created, Creating};
use super::{Environment, delete, foreground};
use crate::call;
use crate::cgroup::Cgroup;
use crate::cli;
use crate::config;
use crate::console::{self, ConsoleSocket};
use crate::container;
use crate::criu::{self, Criu, Directories, Fields, Kind, Listener};
use crate::error::{Context, Error, Result};
use crate::host;
use crate::plan::checkpoint::{self as plan_checkpoint, External};
use crate::plan::hooks::HookKind;
use crate::plan::mount_options::ms;
use crate::plan::mounts::Source;
use crate::plan::namespaces::{self, Join};
use crate::plan::rootfs::{Rootfs, What};
use crate::plan::{ConfigPath, Plan, Request};
use crate::resctrl::Group;
use crate::root;
use crate::sys::mount;
use crate::sys::process::{self, Child};

/// The command. In the foreground its exit status is the container's.
pub fn restore(options: &cli::Restore, environment: &Environment) -> Result<i32> {
    let signals = (!options.detach).then(process::signal_fd).transpose()?;
    if !options.detach && !options.no_subreaper {
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    let Created { container, init, console, .. } = make(options, environment)?;
    let Some(signals) = signals else { return Ok(0) };
    if let Some(master) = &console {
        console::fit(master);
    }
    let status = foreground::wait(&init, console, &signals, None);
    delete::destroy(&container, environment)?;
    status
}

/// Makes the container, as [`create::make`] does: whatever fails, the guards undo what was done.
fn make(options: &cli::Restore, environment: &Environment) -> Result<Created> {
    let bundle = create::find_bundle(options.bundle.as_deref())?;
    container::check_id(&options.id)?;
    let config = config::read_bundle(&bundle, None, environment.strict)?;
    let host = host::probe(&config)?;
    let request = Request {
        id: &options.id,
        bundle: &bundle,
        no_pivot: options.no_pivot,
        no_new_keyring: true,
        rootless: environment.rootless,
        strict: environment.strict,
        cgroup_manager: environment.cgroup_manager,
        notify_directory: None,
        environment: &[],
    };
    let plan = Plan::build(&config, &request, &host)?;
    create::check_host(&plan)?;
    let directories = open_images(&options.criu)?;
    let socket = options.console_socket.as_deref().map(ConsoleSocket::connect).transpose()?;

    let record = create::record(&config, &plan, &bundle, &options.id)?;
    let mut new = Creating::reserve(environment, record)?; // dropped = undone
    new.write_file("config.json", &config.text)?;
    let cgroup = Cgroup::create(&plan.cgroup)?;
    let entrance = cgroup.entrance();
    new.cgroup = Some(cgroup);
    let joins = open_joins(&plan)?;
    let inherited: Vec<BorrowedFd<'_>> = joins.iter().map(|(_, fd)| fd.as_fd()).collect();
    let top = new.container.directory.join("criu-root");
    fs::create_dir(&top).map_err(|error| Error::new(format!("make {}: {error}", top.display())))?;
    // In a mount namespace of criu's own: whatever happens to it, no mount of this stays on the host.
    let prepare = || lay_out(&plan.rootfs, &top).step(|| "lay out the root for criu");
    let criu = Criu::start(entrance?, &directories, "restore.log", &inherited, prepare)?;
    new.place(&plan, criu.pid())?;
    if let Some(cgroup) = &new.cgroup {
        cgroup.write_limits(&plan.cgroup)?;
        plan.cgroup.owner.map(|owner| cgroup.give_to(owner)).transpose()?;
    }
    // What criu restores is in the groups that criu is in.
    new.resctrl = plan.intel_rdt.as_ref().map(Group::make).transpose()?;
    new.resctrl.as_ref().map(|group| group.admit(criu.pid())).transpose()?;
    let fields = fields(options, &plan, &new, &directories, &top, &joins, criu.pid())?;
    let mut restoring = Restoring { new: &mut new, plan: &plan, socket };
    let restored = criu.request(Kind::Restore, &fields, &mut restoring).step(|| "restore the container")?;
    drop(criu);
    let pid = new.adopt(child(restored.pid)?)?;
    if let Some(file) = &options.pid_file {
        create::write_pid_file(file, pid)?;
    }
    fs::remove_dir(&top).map_err(|error| Error::new(format!("remove {}: {error}", top.display())))?;
    let record = &mut new.container.record;
    (record.restored, record.committed) = (true, true);
    if has_own_clock(pid) && !record.namespaces.contains(&namespaces::Kind::Time) {
        record.namespaces.push(namespaces::Kind::Time);
    }
    new.container.save()?;
    drop(joins);
    new.keep(plan)
}

/// Unlike for a checkpoint they must be there.
fn open_images(options: &cli::Criu) -> Result<Directories> {
    let images = options.image_path.clone().unwrap_or_else(|| PathBuf::from("checkpoint"));
    if !images.is_dir() {
        return Err(Error::new(format!("there are no image files: {} is no directory", images.display()))
            .hint("--image-path names the directory that `minicon checkpoint` has filled"));
    }
    directories(options)
}

/// The restored init is a child of ours: criu makes it its sibling.
fn child(pid: i32) -> Result<Child> {
    let process = Pid::from_raw(pid).ok_or_else(|| Error::new("criu did not tell the restored process"))?;
    let pidfd = call!("pidfd_open"(pid) => rustix::process::pidfd_open(process, PidfdFlags::empty()))?;
    Ok(Child { pid, pidfd })
}

/// criu gives processes a time namespace, so that their clocks go on from where they were.
fn has_own_clock(pid: i32) -> bool {
    let clock = |process: &str| fs::read_link(format!("/proc/{process}/ns/time")).ok();
    clock(&pid.to_string()) != clock("self")
}

fn open_joins(plan: &Plan) -> Result<Vec<(&Join, OwnedFd)>> {
    let opened = |join: &'_ Join| {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        call!("open"(join.path.display()) => rustix::fs::open(&join.path, flags, Mode::empty()))
            .step(|| format!("open the {} namespace", join.kind.name()))
            .at(join.at.field("path"))
    };
    let known = plan.namespaces.join.iter().filter(|join| name_of_external(join.kind).is_some());
    known.map(|join| Ok((join, opened(join)?))).collect()
}

/// criu wants the root to be a mount whose parent is not covered, and every place to mount on to be there: it puts mounts
/// back, but makes nothing for them. What lies in a bind mount is made there, so those are mounted meanwhile.
fn lay_out(rootfs: &Rootfs, top: &Path) -> Result<()> {
    process::unshare(namespaces::Kind::Mount.flag())?;
    mount::set_root_propagation(ms::SLAVE | ms::REC)?;
    let root = open_root(&rootfs.path)?;
    mount::attach(mount::clone_tree(root.fd(), true)?, open_root(top)?.fd())?;
    let root = open_root(top)?;
    let mut made = Vec::new();
    for step in &rootfs.furnish {
        let What::Mount(planned) = &step.what else { continue };
        let is_saved = |parent: &Path| is_tmpfs(rootfs, parent);
        if planned.destination.ancestors().skip(1).any(is_saved) {
            continue; // criu restores what a tmpfs holds
        }
        let place = match &planned.source {
            Source::Bind { .. } | Source::OwnCgroup { .. } => {
                let Some((path, recursive)) = planned.source.bound(Path::exists) else { continue };
                let tree = mount::clone_tree_at(rustix::fs::CWD, path, recursive)?;
                let is_directory = root::is_directory(&root::stat(&tree)?);
                let place =
                    if is_directory { root.directory(&planned.destination) } else { root.file(&planned.destination) };
                mount::attach(&tree, place.step(|| step.what.to_string()).at(step.at)?)?;
                made.push(tree);
                continue;
            }
            Source::Filesystem { .. } => root.directory(&planned.destination),
            Source::Existing => continue,
        };
        place.step(|| step.what.to_string()).at(step.at)?;
    }
    while let Some(tree) = made.pop() {
        mount::detach(&format!("/proc/self/fd/{}", tree.as_raw_fd()))?;
    }
    Ok(())
}

fn is_tmpfs(rootfs: &Rootfs, destination: &Path) -> bool {
    rootfs.furnish.iter().any(|step| match &step.what {
        What::Mount(mount) => {
            let kind = match &mount.source {
                Source::Filesystem { kind, .. } => kind.as_str(),
                _ => "",
            };
            mount.destination == destination && matches!(kind, "tmpfs" | "cgroup" | "sysfs" | "proc")
        }
        _ => false,
    })
}

fn fields(
    options: &cli::Restore,
    plan: &Plan,
    new: &Creating<'_>,
    directories: &Directories,
    top: &Path,
    joins: &[(&Join, OwnedFd)],
    pid_of_criu: i32,
) -> Result<Fields> {
    let mut fields = shared_fields(&options.criu, "restore.log")?;
    fields.flag(6, true).flag(26, true).text(13, top.as_os_str().as_encoded_bytes()).flag(52, options.tcp_close);
    for (field, text) in [(53, &options.lsm_profile), (63, &options.lsm_mount_context)] {
        if let Some(text) = text {
            fields.text(field, text);
        }
    }
    add_configuration_file(&mut fields, &new.container.record);
    add_cgroups(&mut fields, pid_of_criu)?;
    let root = open_root(&plan.rootfs.path)?;
    for External { destination, source } in plan_checkpoint::externals(&plan.rootfs) {
        add_external(&mut fields, &resolve(&root, &destination), &source);
    }
    if plan_checkpoint::masks(&plan.rootfs).next().is_some() {
        add_external(&mut fields, Path::new("/dev/null"), Path::new("/dev/null"));
    }
    let named = joins.iter().filter_map(|(join, _)| name_of_external(join.kind)).map(str::to_owned);
    let pipes = saved_pipes(&directories.images)?;
    for (number, name) in (criu::HANDED_OVER..).zip(named).chain(pipes) {
        let mut inherited = Fields::default();
        inherited.text(1, name).number(2, number);
        fields.message(27, &inherited);
    }
    Ok(fields)
}

/// Where the restored processes go in each hierarchy: where criu itself is by now.
fn add_cgroups(fields: &mut Fields, criu: i32) -> Result<()> {
    let file = format!("/proc/{criu}/cgroup");
    let text = fs::read_to_string(&file).map_err(|error| Error::new(format!("read {file}: {error}")))?;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (parts.next(), parts.next()) {
            let mut root = Fields::default();
            root.text(1, controllers).text(2, path);
            fields.message(25, &root);
        }
    }
    Ok(())
}

/// Which standard streams were pipes, by the names that criu has them under.
fn saved_pipes(images: &Path) -> Result<Vec<(i64, String)>> {
    let file = images.join(DESCRIPTORS);
    let text = fs::read(&file).map_err(|error| Error::new(format!("read {}: {error}", file.display())));
    let names: Vec<String> = serde_json::from_slice(&text.hint("is this a checkpoint of a container?")?)
        .map_err(|error| Error::new(format!("{}: {error}", file.display())))?;
    Ok((0..).zip(names).filter(|(_, name)| name.contains("pipe:")).collect())
}

struct Restoring<'a, 'e> {
    new: &'a mut Creating<'e>,
    plan: &'a Plan,
    socket: Option<ConsoleSocket>,
}

impl Listener for Restoring<'_, '_> {
    /// Where a new container's hooks on this side run, so that they can give it a network.
    fn notified(&mut self, script: &str, pid: i32) -> Result<()> {
        if script != "setup-namespaces" {
            return Ok(());
        }
        self.new.record_init(pid)?;
        self.new.poststop = Some(self.plan.hooks.clone());
        self.new.run_hooks(self.plan, HookKind::Prestart)?;
        self.new.run_hooks(self.plan, HookKind::CreateRuntime)
    }

    fn terminal(&mut self, master: OwnedFd) -> Result<()> {
        match &self.socket {
            Some(socket) => socket.hand_over(&master).at(ConfigPath::new("process.terminal")),
            None => {
                self.new.console = Some(master);
                Ok(())
            }
        }
    }
}
