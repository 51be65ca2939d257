//! `checkpoint`: criu saves the container's processes into files; unless told otherwise the container then is gone.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{Environment, delete};
use crate::cgroup::{CgroupPaths, Entrance};
use crate::cli;
use crate::config;
use crate::container::status::{self, Verb};
use crate::container::{Container, Record};
use crate::criu::{self, Criu, Directories, Fields, Kind, Listener};
use crate::error::{Context, Error, Result};
use crate::host;
use crate::plan::checkpoint::{self as plan_checkpoint, External};
use crate::plan::namespaces;
use crate::plan::{Plan, Request};
use crate::root::Root;
use crate::sys::process;

/// The file beside the images with what the standard streams were; runc's name and form.
pub const DESCRIPTORS: &str = "descriptors.json";

/// The command.
pub fn checkpoint(options: &cli::Checkpoint, environment: &Environment) -> Result<()> {
    if environment.rootless {
        environment.log.warning("criu needs root to save a container");
    }
    let (container, _lock) = Container::open_locked(&environment.root, &options.id)?;
    status::permit(Verb::Checkpoint, container.status()?, &options.id)?;
    let plan = plan_again(&container)?;
    let directories = directories(&options.criu)?;
    check_parent(options, &directories)?;
    let request = request(options, &container, &plan)?;
    if !options.pre_dump {
        save_descriptors(&container.record, &directories.images)?;
    }
    let kind = if options.pre_dump { Kind::PreDump } else { Kind::Dump };
    let criu = Criu::start(Entrance::default(), &directories, "dump.log", &[], || Ok(()))?;
    let mut listener = Dumping { status_fd: (options.status_fd >= 0).then_some(options.status_fd) };
    criu.request(kind, &request, &mut listener).step(|| "save the container")?;
    drop(criu);
    match options.leave_running || options.pre_dump {
        true => Ok(()),
        false => delete::destroy(&container, environment),
    }
}

/// The plan of the container as it was created, for what its mounts are.
fn plan_again(container: &Container) -> Result<Plan> {
    let record = &container.record;
    let config = config::parse(container.config_text()?)?;
    let host = host::probe(&config)?;
    let request = Request {
        id: &record.id,
        bundle: &record.bundle,
        no_pivot: false,
        no_new_keyring: true,
        rootless: false,
        strict: false,
        cgroup_manager: Default::default(),
        notify_directory: None,
        environment: &[],
    };
    Plan::build(&config, &request, &host)
}

/// The directories of the command line, made if they are missing.
pub fn directories(options: &cli::Criu) -> Result<Directories> {
    let make = |path: &Path| {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| Error::new(format!("make {}: {error}", path.display())))
    };
    let images = options.image_path.clone().unwrap_or_else(|| PathBuf::from("checkpoint"));
    make(&images)?;
    options.work_path.as_deref().map(make).transpose()?;
    Ok(Directories { images, work: options.work_path.clone() })
}

fn check_parent(options: &cli::Checkpoint, directories: &Directories) -> Result<()> {
    let Some(parent) = &options.parent_path else { return Ok(()) };
    if parent.is_absolute() {
        return Err(Error::new("--parent-path must be relative").hint("it starts at --image-path, as ../before"));
    }
    match fs::metadata(directories.images.join(parent)) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Error::new(format!("invalid --parent-path: {} is not a directory", parent.display()))),
        Err(error) => Err(Error::new(format!("invalid --parent-path: {}: {error}", parent.display()))),
    }
}

/// The fields of `criu_opts` that saving and restoring share.
pub fn shared_fields(options: &cli::Criu, log: &str) -> Result<Fields> {
    plan_checkpoint::check_empty_namespaces(&options.empty_ns)?;
    let mut fields = Fields::default();
    fields.number(1, criu::IMAGES).number(17, criu::WORK);
    fields.number(9, 4).text(10, log).flag(12, true);
    fields.flag(5, options.tcp_established).flag(4, options.ext_unix_sk).flag(7, options.shell_job);
    fields.flag(8, options.file_locks).flag(16, options.auto_dedup).flag(48, options.lazy_pages);
    fields.flag(24, true).number(34, plan_checkpoint::cgroup_mode(options.manage_cgroups_mode.as_deref())?);
    fields.number(38, namespaces::Kind::Network.flag().into()).flag(50, true);
    if let Some(method) = &options.network_lock {
        fields.number(64, plan_checkpoint::network_lock(method)?);
    }
    Ok(fields)
}

/// criu reads further options from a file: the one that an annotation names, or the host's for this.
pub fn add_configuration_file(fields: &mut Fields, record: &Record) {
    let usual = ["/etc/criu/minicon.conf", "/etc/criu/runc.conf"];
    let named = record.annotations.get("org.criu.config").map(String::as_str);
    let file = named.or_else(|| usual.into_iter().find(|file| Path::new(file).exists()));
    if let Some(file) = file.filter(|file| !file.is_empty()) {
        fields.text(51, file);
    }
}

/// A mount that criu is not to save or make: where it is, and what it is called between the two.
pub fn add_external(fields: &mut Fields, key: &Path, value: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let mut mount = Fields::default();
    mount.text(1, key.as_os_str().as_bytes()).text(2, value.as_os_str().as_bytes());
    fields.message(23, &mount);
}

/// The name of a namespace that is not the container's own, between saving and restoring.
pub fn name_of_external(kind: namespaces::Kind) -> Option<&'static str> {
    match kind {
        namespaces::Kind::Network => Some("extRootNetNS"),
        namespaces::Kind::Pid => Some("extRootPidNS"),
        _ => None,
    }
}

fn request(options: &cli::Checkpoint, container: &Container, plan: &Plan) -> Result<Fields> {
    let record = &container.record;
    let mut fields = shared_fields(&options.criu, "dump.log")?;
    fields.number(2, record.init_process_pid.into());
    fields.text(13, record.rootfs.as_os_str().as_encoded_bytes());
    fields.flag(3, options.leave_running).flag(46, options.tcp_skip_in_flight).flag(18, options.link_remap);
    if let Some(server) = &options.page_server {
        let (address, port) = plan_checkpoint::page_server(server)?;
        let mut server = Fields::default();
        server.text(1, address).number(2, port.into());
        fields.message(11, &server);
    }
    if let Some(parent) = &options.parent_path {
        fields.text(14, parent.as_os_str().as_encoded_bytes()).flag(15, true);
    }
    if let Some(freezer) = freezer_of(&record.cgroup) {
        fields.text(44, freezer.as_os_str().as_encoded_bytes());
    }
    add_configuration_file(&mut fields, record);
    for join in &plan.namespaces.join {
        if let (Some(name), Ok(meta)) = (name_of_external(join.kind), fs::metadata(&join.path)) {
            fields.text(37, format!("{}[{}]:{name}", join.kind.proc_name(), meta.ino()));
        }
    }
    if !options.pre_dump {
        let root = open_root(&record.rootfs)?;
        for External { destination, .. } in plan_checkpoint::externals(&plan.rootfs) {
            let destination = resolve(&root, &destination);
            add_external(&mut fields, &destination, &destination);
        }
        let inside = PathBuf::from(format!("/proc/{}/root", record.init_process_pid));
        for mask in plan_checkpoint::masks(&plan.rootfs) {
            let there = inside.join(mask.strip_prefix("/").unwrap_or(mask));
            // A directory is covered with a tmpfs, which criu saves as it does any.
            if fs::symlink_metadata(there).is_ok_and(|meta| !meta.is_dir()) {
                add_external(&mut fields, mask, Path::new("/dev/null"));
            }
        }
    }
    Ok(fields)
}

fn freezer_of(cgroup: &CgroupPaths) -> Option<&PathBuf> {
    cgroup.controllers.get("freezer").or_else(|| cgroup.controllers.get(""))
}

/// The container's root on the host, for [`resolve`].
pub fn open_root(path: &Path) -> Result<Root> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = crate::call!("open"(path.display()) => rustix::fs::open(path, flags, Mode::empty()))?;
    Ok(Root::new(opened))
}

/// Where a destination really is in the root, links followed inside: criu looks for mounts by that path.
pub fn resolve(root: &Root, destination: &Path) -> PathBuf {
    let name = |fd: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
    let found = root.open(destination).ok().and_then(|place| name(&place));
    let below = found.zip(name(root.fd())).and_then(|(found, top)| found.strip_prefix(top).ok().map(Path::to_path_buf));
    below.map_or_else(|| destination.to_path_buf(), |path| Path::new("/").join(path))
}

/// What the standard streams are, so that pipes can be given back at the restore.
fn save_descriptors(record: &Record, images: &Path) -> Result<()> {
    let name = |number: u32| {
        let link = fs::read_link(format!("/proc/{}/fd/{number}", record.init_process_pid));
        link.map_or_else(|_| "/dev/null".to_owned(), |link| link.display().to_string())
    };
    let names = serde_json::to_string(&[0, 1, 2].map(name)).map_err(|error| Error::new(error.to_string()))?;
    let file = images.join(DESCRIPTORS);
    fs::write(&file, names).map_err(|error| Error::new(format!("write {}: {error}", file.display())))
}

struct Dumping {
    status_fd: Option<i32>,
}

impl Listener for Dumping {
    fn notified(&mut self, script: &str, _pid: i32) -> Result<()> {
        if let Some(fd) = self.status_fd.take_if(|_| script == "status-ready") {
            // Whoever waits sees the byte, and then the end.
            let fd = process::inherited(fd);
            let _ = rustix::io::write(&fd, b"\0");
        }
        Ok(())
    }

    fn terminal(&mut self, _master: OwnedFd) -> Result<()> {
        Ok(())
    }
}
