//! One connection to a bus, for one command. Nothing waits for an answer that the next thing to say does not depend on:
//! authentication, greeting and calls leave in one write. Everything together has one time limit.

use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::address::Address;
use super::message::{Kind, Message, PREFIX};
use crate::call;
use crate::error::{Error, Result};
use crate::plan::variant::Value;

/// Signals that wait to be asked for. Only what we subscribed to comes, and little of that.
const MOST_SIGNALS: usize = 256;

/// A connection that may still be authenticating.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    deadline: Instant,
    limit: Duration,
    serial: u32,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    is_authenticated: bool,
    replies: Vec<Message>,
    signals: Vec<Message>,
}

/// A call that was answered with an error: its name, such as `org.freedesktop.systemd1.NoSuchUnit`, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Refusal {
    pub name: String,
    pub text: String,
}

impl Refusal {
    /// Whether the error's name ends in this word.
    pub fn is(&self, word: &str) -> bool {
        self.name.rsplit('.').next() == Some(word)
    }
}

impl Connection {
    /// Connects to the first address that answers, and greets the bus. All that follows must be done in `limit`.
    ///
    /// "EXTERNAL" without an identity lets the bus take the one that the kernel tells it. Ours may be wrong there: in a
    /// user namespace we are somebody else.
    pub fn open(addresses: &[Address], limit: Duration) -> Result<Connection> {
        let deadline = Instant::now() + limit;
        let mut failed = Error::new("there is no address of a bus");
        for address in addresses {
            match connect(address, deadline) {
                Ok(socket) => {
                    let mut connection = Connection {
                        socket,
                        deadline,
                        limit,
                        serial: 0,
                        outgoing: b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_vec(),
                        incoming: Vec::new(),
                        is_authenticated: false,
                        replies: Vec::new(),
                        signals: Vec::new(),
                    };
                    connection.call_bus("Hello", Vec::new());
                    return Ok(connection);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Asks for the signals that a rule matches (specification, Match Rules).
    pub fn subscribe(&mut self, rule: &str) {
        self.call_bus("AddMatch", vec![Value::string(rule)]);
    }

    fn call_bus(&mut self, member: &str, body: Vec<Value>) {
        let bus = "org.freedesktop.DBus";
        self.call(Message::call(bus, "/org/freedesktop/DBus", bus, member, body));
    }

    /// Makes a call, which leaves with the next wait for an answer; returns what its reply will refer to.
    pub fn call(&mut self, mut message: Message) -> u32 {
        self.serial += 1;
        message.serial = self.serial;
        self.outgoing.extend(message.encode());
        self.serial
    }

    /// Waits for the answer to a call.
    pub fn reply(&mut self, serial: u32) -> Result<Result<Vec<Value>, Refusal>> {
        loop {
            if let Some(at) = self.replies.iter().position(|reply| reply.reply_serial == Some(serial)) {
                let Message { kind, error_name, body, .. } = self.replies.swap_remove(at);
                return Ok(match kind {
                    Kind::Return => Ok(body),
                    _ => Err(refusal(error_name, &body)),
                });
            }
            self.receive()?;
        }
    }

    /// Waits for a signal of this name, and takes it.
    pub fn signal(&mut self, member: &str) -> Result<Message> {
        loop {
            if let Some(at) = self.signals.iter().position(|signal| signal.member.as_deref() == Some(member)) {
                return Ok(self.signals.remove(at));
            }
            self.receive()?;
        }
    }

    /// Takes one message and puts it where it will be looked for.
    fn receive(&mut self) -> Result<()> {
        let message = self.next_message()?;
        match message.kind {
            // Whatever was not asked for by its number is of no interest, unless the bus does not want us at all.
            Kind::Error if message.reply_serial == Some(1) => {
                let Refusal { name, text } = refusal(message.error_name, &message.body);
                return Err(Error::new(format!("the bus refuses us: {name}: {text}")));
            }
            Kind::Return | Kind::Error => self.replies.push(message),
            Kind::Signal => {
                if self.signals.len() == MOST_SIGNALS {
                    self.signals.remove(0);
                }
                self.signals.push(message);
            }
            Kind::Call | Kind::Unknown => {}
        }
        Ok(())
    }

    fn next_message(&mut self) -> Result<Message> {
        while !self.is_authenticated {
            match take_line(&mut self.incoming)? {
                Some(line) => self.is_authenticated = is_accepted(&line)?,
                None => self.exchange()?,
            }
        }
        loop {
            if self.incoming.len() >= PREFIX {
                let length = Message::length(&self.incoming)?;
                if self.incoming.len() >= length {
                    let bytes: Vec<u8> = self.incoming.drain(..length).collect();
                    return Message::decode(&bytes);
                }
            }
            self.exchange()?;
        }
    }

    /// Waits until there is something to read, or room for what is still to be written, and does that.
    fn exchange(&mut self) -> Result<()> {
        if !self.outgoing.is_empty() {
            match rustix::net::send(&self.socket, &self.outgoing, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.outgoing.drain(..sent)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                failed => drop(call!("send"("the bus") => failed)?),
            }
        }
        let writing = if self.outgoing.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        wait(&self.socket, PollFlags::IN | writing, self.deadline, self.limit)?;
        let mut buffer = [0; 4096];
        match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => Err(Error::new("the bus has closed the connection")),
            Ok((length, _)) => {
                self.incoming.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            failed => call!("recv"("the bus") => failed.map(drop)),
        }
    }
}

fn connect(address: &Address, deadline: Instant) -> Result<OwnedFd> {
    let named = match address {
        Address::Path(path) => SocketAddrUnix::new(path),
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
    };
    let named = call!("connect"(address) => named)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = call!("socket"("AF_UNIX")
        => rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None))?;
    loop {
        match rustix::net::connect(&socket, &named) {
            // As many wait already as the bus allows; poll(2) does not tell when that changes.
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Err(Errno::INTR) => {}
            connected => return call!("connect"(address) => connected).map(|()| socket),
        }
    }
}

fn wait(socket: &OwnedFd, events: PollFlags, deadline: Instant, limit: Duration) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    match poll(&mut [PollFd::new(socket, events)], Some(&left)) {
        Ok(0) => Err(Error::new(format!("no answer within {} seconds", limit.as_secs_f32()))),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        failed => call!("poll"("the bus") => failed.map(drop)),
    }
}

/// A line of the authentication, without its end.
fn take_line(bytes: &mut Vec<u8>) -> Result<Option<String>> {
    /// The specification sets no limit; what a bus says has some fifty letters.
    const LONGEST_LINE: usize = 1024;
    match bytes.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => {
            let line: Vec<u8> = bytes.drain(..end + 2).take(end).collect();
            Ok(Some(String::from_utf8_lossy(&line).into_owned()))
        }
        None if bytes.len() > LONGEST_LINE => Err(Error::new("what answers is no bus")),
        None => Ok(None),
    }
}

/// The end of the authentication, or one of its steps. We have sent all that it takes.
fn is_accepted(line: &str) -> Result<bool> {
    match line.split(' ').next() {
        Some("DATA") => Ok(false),
        Some("OK") => Ok(true),
        _ => Err(Error::new(format!("the bus does not accept who we are: {line:?}"))),
    }
}

fn refusal(name: Option<String>, body: &[Value]) -> Refusal {
    let text = body.first().and_then(Value::text).unwrap_or_default().to_owned();
    Refusal { name: name.unwrap_or_default(), text }
}

/// A call that was refused, as an error.
impl Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A bus that says this, whatever it hears, and goes.
    fn with_bus(said: &[u8], limit: Duration, test: impl FnOnce(&mut Connection)) -> Vec<u8> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bus");
        let listener = UnixListener::bind(&path).expect("bind");
        let mut connection = Connection::open(&[Address::Path(path)], limit).expect("connect");
        let (mut peer, _) = listener.accept().expect("accept");
        peer.write_all(said).expect("write");
        test(&mut connection);
        drop(connection);
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).expect("read");
        heard
    }

    fn answer(kind: Kind, reply_serial: u32, body: Vec<Value>) -> Vec<u8> {
        let error_name = (kind == Kind::Error).then(|| "org.freedesktop.systemd1.NoSuchUnit".to_owned());
        Message { kind, serial: 1, reply_serial: Some(reply_serial), error_name, body, ..Message::default() }.encode()
    }

    fn said(parts: &[&[u8]]) -> Vec<u8> {
        [b"DATA\r\nOK 1234deadbeef\r\n", parts.concat().as_slice()].concat()
    }

    const LONG: Duration = Duration::from_secs(25);

    #[test]
    fn everything_leaves_at_once_and_answers_find_their_call() {
        let signal = Message { kind: Kind::Signal, member: Some("JobRemoved".into()), serial: 3, ..Message::default() };
        let (hello, first) =
            (answer(Kind::Return, 1, vec![Value::string(":1.5")]), answer(Kind::Return, 3, Vec::new()));
        let second = answer(Kind::Error, 4, vec![Value::string("Unit x not loaded.")]);
        let heard = with_bus(&said(&[&hello, &second, &signal.encode(), &first]), LONG, |connection| {
            connection.subscribe("type='signal'");
            let calls = ["A", "B"].map(|member| connection.call(Message::call("d", "/p", "i.f", member, Vec::new())));
            assert_eq!(connection.reply(calls[0]).expect("an answer"), Ok(Vec::new()));
            let refused = connection.reply(calls[1]).expect("an answer").expect_err("refused");
            assert!(refused.is("NoSuchUnit") && refused.text == "Unit x not loaded.", "{refused}");
            assert_eq!(connection.signal("JobRemoved").expect("a signal").serial, 3);
        });
        assert!(heard.starts_with(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nl\x01"), "{heard:?}");
        let has = |word: &[u8]| heard.windows(word.len()).any(|part| part == word);
        assert!(has(b"Hello") && has(b"AddMatch") && has(b"type='signal'"));
    }

    fn failure(said: &[u8], limit: Duration) -> String {
        let mut told = String::new();
        with_bus(said, limit, |connection| {
            let call = connection.call(Message::call("d", "/p", "i.f", "A", Vec::new()));
            told = connection.reply(call).expect_err("it fails").headline();
        });
        told
    }

    #[test]
    fn a_bus_that_does_not_work_is_told() {
        let short = Duration::from_millis(20);
        assert!(failure(b"REJECTED EXTERNAL\r\n", LONG).contains("does not accept who we are"));
        assert!(failure(b"DATA\r\nOK 1\r\n", short).contains("no answer within 0.02 seconds"));
        assert!(failure(&[b'x'; 2000], LONG).contains("no bus"));
        assert!(failure(&said(&[&[b'z'; 64]]), LONG).contains("no D-Bus message"));
        assert!(failure(&said(&[&answer(Kind::Error, 1, Vec::new())]), LONG).contains("refuses us"));
    }

    #[test]
    fn a_bus_that_is_not_there_is_named() {
        let missing = Address::Path("/nonexistent/bus".into());
        let told = Connection::open(&[missing], LONG).expect_err("it is not there").headline();
        assert!(told.contains("connect(/nonexistent/bus)") && told.contains("ENOENT"), "{told}");
    }
}
