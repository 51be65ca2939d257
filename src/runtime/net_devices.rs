//! Moves network devices of the host into the container's network namespace, and back if the container is not made.
//!
//! The kernel takes a device's addresses away when it moves, so they are read before and given back after. Only a create
//! that fails moves devices back: "The runtime MUST NOT attempt to move the interface out of the namespace before deletion"
//! (config-linux.md, Network Devices).

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::spawn;
use crate::call;
use crate::error::{Context, Error, Result};
use crate::netlink::{Address, Link, Socket};
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use crate::plan::net_devices::NetDevice;
use crate::plan::steps::id;
use crate::sys::process;
use crate::trace;

/// Devices that were moved. The socket inside keeps the namespace alive even if init dies, and with it the devices: virtual
/// ones would end with it, physical ones would come back under their new names.
#[derive(Debug)]
pub struct Moved {
    home: OwnedFd,
    target: OwnedFd,
    here: Socket,
    there: Socket,
    devices: Vec<Device>,
}

/// A device as it was on the host.
#[derive(Debug)]
struct Device {
    name: String,
    link: Link,
    addresses: Vec<Address>,
    /// The name that it has just after the move.
    landing: String,
    /// Its number in the container, once it is known.
    index: Option<i32>,
}

/// Moves every device of the plan. If one fails, those before it are moved back.
pub fn move_in(plan: &Plan, init: i32) -> Result<Option<Moved>> {
    if plan.net_devices.is_empty() {
        return Ok(None);
    }
    let mut moved = Moved::none(open_target(plan, init)?)?;
    let mut devices = plan.net_devices.iter();
    let done = devices.try_for_each(|device| {
        trace::step(|| id::net_device(device), || moved.move_one(device))
            .step(|| format!("move the network device {}", device.name))
            .at(device.at())
    });
    match done {
        Ok(()) => Ok(Some(moved)),
        Err(error) => Err(match moved.take_back() {
            Ok(()) => error,
            Err(lost) => error.hint(format!("what was moved could not be moved back: {}", lost.headline())),
        }),
    }
}

/// The container's network namespace, which is not the runtime's.
fn open_target(plan: &Plan, init: i32) -> Result<OwnedFd> {
    let target = match plan.namespaces.join.iter().find(|join| join.kind == Kind::Network) {
        Some(join) => spawn::open_namespace(join)?.map(|(_, fd)| fd),
        None => Some(open(&format!("/proc/{init}/ns/net"))?),
    };
    match target.filter(|target| !spawn::is_own(target, Kind::Network)) {
        Some(target) => Ok(target),
        None => {
            Err(Error::new("the container's network namespace is the runtime's: there is nowhere to move a device to")
                .at("linux.netDevices")
                .hint("leave out the namespace's path to get a new one"))
        }
    }
}

fn open(path: &str) -> Result<OwnedFd> {
    call!("open"(path) => rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

impl Moved {
    fn none(target: OwnedFd) -> Result<Moved> {
        let home = open("/proc/self/ns/net")?;
        let here = Socket::open()?;
        // A socket belongs to the namespace that it was opened in. There is one thread, so nothing else is there meanwhile.
        process::setns(&target, Kind::Network.flag()).step(|| "enter the container's network namespace")?;
        let there = Socket::open();
        process::setns(&home, Kind::Network.flag()).step(|| "come back from the container's network namespace")?;
        Ok(Moved { home, target, here, there: there?, devices: Vec::new() })
    }

    fn move_one(&mut self, device: &NetDevice) -> Result<()> {
        let missing = || Error::new(format!("there is no network device {:?} on the host", device.name));
        let link = self.here.find(&device.name)?.ok_or_else(missing)?;
        // "If a network device with the specified name already exists in the container namespace, the runtime MUST generate
        // an error, unless the user has provided a template"
        if !device.is_template() && self.there.find(&device.target)?.is_some() {
            return Err(Error::new(format!("the container has a network device {:?} already", device.target))
                .hint("choose another with \"name\"; one that ends with %d lets the kernel choose"));
        }
        let addresses = self.here.addresses(link.index)?;
        // Of a template the kernel does not tell what it has made, so the device first gets a name that is known.
        let landing = match device.is_template() {
            true => format!("mc{}n{}", rustix::process::getpid().as_raw_nonzero(), self.devices.len()),
            false => device.target.clone(),
        };
        let index = link.index;
        let permanent = addresses.into_iter().filter(Address::is_permanent_and_global).collect();
        let as_it_was = Device { name: device.name.clone(), link, addresses: permanent, landing, index: None };
        self.devices.push(as_it_was);
        let Moved { here, there, target, devices, .. } = self;
        let Some(moved) = devices.last_mut() else { return Ok(()) };
        here.move_to(index, target, &moved.landing)?;
        let missing = || Error::new("the device has not arrived");
        let index = there.find(&moved.landing)?.ok_or_else(missing)?.index;
        moved.index = Some(index);
        if device.is_template() {
            there.rename(index, &device.target)?;
        }
        moved
            .addresses
            .iter()
            .try_for_each(|address| there.add_address(index, address))
            .step(|| format!("give {} its addresses again", device.target))?;
        // "The runtime MUST set the network device state to "up" after moving it to the network namespace"
        there.bring_up(index)
    }

    /// Moves the devices back to where they were, under their old names, with their addresses. Routes that somebody else
    /// had set are lost.
    pub fn take_back(mut self) -> Result<()> {
        let devices = std::mem::take(&mut self.devices);
        let mut first = Ok(());
        for device in devices.iter().rev() {
            let back = self.take_one_back(device).step(|| format!("move the network device {} back", device.name));
            first = first.and(back);
        }
        first
    }

    fn take_one_back(&mut self, device: &Device) -> Result<()> {
        let Some(index) = self.find_moved(device)? else { return Ok(()) };
        self.there.move_to(index, &self.home, &device.name)?;
        let missing = || Error::new("the device has not come back");
        let index = self.here.find(&device.name)?.ok_or_else(missing)?.index;
        if let Some(master) = device.link.master {
            self.here.set_master(index, master)?;
        }
        device.addresses.iter().try_for_each(|address| self.here.add_address(index, address))?;
        if device.link.up { self.here.bring_up(index) } else { Ok(()) }
    }

    /// A move that has failed may have been done by half: the device is over there, and has its old name still.
    fn find_moved(&mut self, device: &Device) -> Result<Option<i32>> {
        if device.index.is_some() {
            return Ok(device.index);
        }
        if self.here.find(&device.name)?.is_some() {
            return Ok(None);
        }
        let found = match self.there.find(&device.landing)? {
            None => self.there.find(&device.name)?,
            found => found,
        };
        Ok(found.map(|link| link.index))
    }
}
