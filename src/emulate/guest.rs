//! Commands inside the guest: over SSH, or on its serial console.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::console::Console;
use crate::error::{Error, Result};
use crate::exec::{Cmd, tail};

/// How a test gets into the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Over the network.
    Ssh {
        /// Private key whose public half the image was provisioned with.
        key: PathBuf,
    },
    /// On the serial console: for machines without a network.
    Serial {
        /// User name.
        user: String,
        /// Its password.
        password: String,
    },
}

/// A command's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Exit status.
    pub status: i32,
    /// What it printed; on a serial console its errors too.
    pub output: String,
}

/// A session inside the guest.
pub enum Guest {
    /// Over SSH; the console is still watched.
    Ssh(Ssh),
    /// On the console itself.
    Serial,
}

/// An SSH client's settings.
pub struct Ssh {
    key: PathBuf,
    port: u16,
    known_hosts: PathBuf,
}

impl Guest {
    /// Logs in, trying until `timeout`. `dir` takes the host keys that the client sees.
    pub fn login(
        login: &Login,
        port: Option<u16>,
        console: &mut Console,
        dir: &Path,
        timeout: Duration,
    ) -> Result<Guest> {
        match (login, port) {
            (Login::Ssh { key }, Some(port)) => {
                let ssh = Ssh { key: key.clone(), port, known_hosts: dir.join("known_hosts") };
                ssh.wait(console, timeout)?;
                Ok(Guest::Ssh(ssh))
            }
            (Login::Ssh { .. }, None) => Err(Error::usage("this emulated board has no network for SSH")
                .hint("log in on the serial console: that needs a root password")),
            (Login::Serial { user, password }, _) => {
                serial_login(console, user, password, timeout)?;
                Ok(Guest::Serial)
            }
        }
    }

    /// Runs a shell command.
    pub fn run(&self, console: &mut Console, command: &str, timeout: Duration) -> Result<Done> {
        match self {
            Guest::Ssh(ssh) => ssh.run(console, command),
            Guest::Serial => serial_run(console, command, timeout),
        }
    }

    /// Asks the guest to power off, without waiting for it.
    pub fn power_off(&self, console: &mut Console) -> Result<()> {
        match self {
            // The connection may break before the command's status gets here.
            Guest::Ssh(ssh) => ssh.cmd("poweroff").output().map(drop),
            Guest::Serial => console.send("poweroff\n"),
        }
    }
}

impl Ssh {
    /// The user's own configuration, agent and known hosts stay out of it.
    fn cmd(&self, command: &str) -> Cmd {
        let known_hosts = format!("UserKnownHostsFile={}", self.known_hosts.display());
        let options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=accept-new",
            known_hosts.as_str(),
            "GlobalKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "ConnectTimeout=20",
            "ServerAliveInterval=10",
            "LogLevel=ERROR",
        ];
        let mut cmd = Cmd::new("ssh").args(["-F", "none"]);
        for option in options {
            cmd = cmd.args(["-o", option]);
        }
        cmd.arg("-i").arg(&self.key).args(["-p", &self.port.to_string(), "root@127.0.0.1", "--", command])
    }

    fn wait(&self, console: &mut Console, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            // The client itself would hang here until its own timeout: QEMU accepts for a guest that is not up.
            while !self.answers() {
                console.pump(Duration::from_millis(100))?;
                if Instant::now() >= deadline {
                    return Err(console.timed_out("SSH", timeout));
                }
            }
            let output = self.cmd("true").output()?;
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            console.pump(Duration::from_millis(500))?;
            if said.contains("Permission denied") {
                return Err(console
                    .failure("SSH refused the key")
                    .caused_by(tail(&said, 3))
                    .hint("build the image with the public half of this key: `--ssh-key FILE`"));
            }
            if Instant::now() >= deadline {
                return Err(console.timed_out("SSH", timeout).caused_by(tail(&said, 3)));
            }
        }
    }

    /// True once a server greets (RFC 4253, 4.2).
    fn answers(&self) -> bool {
        let greeting = || -> std::io::Result<[u8; 4]> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        greeting().is_ok_and(|bytes| &bytes == b"SSH-")
    }

    fn run(&self, console: &mut Console, command: &str) -> Result<Done> {
        let output = self.cmd(command).output()?;
        console.pump(Duration::ZERO)?;
        let status = output.status.code().unwrap_or(255);
        if status == 255 {
            // The client's own status for a broken connection.
            return Err(console
                .failure("the SSH connection broke")
                .caused_by(tail(&String::from_utf8_lossy(&output.stderr), 3)));
        }
        Ok(Done { status, output: output.text() })
    }
}

fn serial_login(console: &mut Console, user: &str, password: &str, timeout: Duration) -> Result<()> {
    // What bimg's root filesystem says in place of a prompt.
    const NO_PASSWORD: &str = "root has no password";
    if console.expect(&["login: ", NO_PASSWORD], "the login prompt", timeout)?.index == 1 {
        return Err(console
            .failure("the serial console takes no login: root has no password")
            .hint("build the image with `--root-password-hash`"));
    }
    let wait = Duration::from_secs(30);
    console.send(&format!("{user}\n"))?;
    console.expect(&["Password: "], "the password prompt", wait)?;
    console.send(&format!("{password}\n"))?;
    match console.expect(&["# ", "$ ", "ncorrect", "login: "], "a shell", wait)?.index {
        // The kernel's messages stay off the console from here on: they would end up in what commands print.
        0 | 1 => serial_run(console, "dmesg -n 1", wait).map(drop),
        _ => Err(console.failure(format!("the serial console refused user `{user}`")).hint(
            "the password must be the one whose hash the image was built with: `--root-password-hash`",
        )),
    }
}

/// The terminal echoes the command, so the marks are spelt in two parts that only the shell joins.
fn serial_run(console: &mut Console, command: &str, timeout: Duration) -> Result<Done> {
    console.send(&format!("echo @@BE''GIN@@; {command}; echo @@E''ND@@$?@@\n"))?;
    console.expect(&["@@BEGIN@@\n"], "the guest's shell", timeout)?;
    let output = console.expect(&["@@END@@"], &format!("`{command}` in the guest"), timeout)?.before;
    let status = console.expect(&["@@\n"], "the guest's shell", timeout)?.before;
    let status = status.parse().map_err(|_| console.failure("the guest's shell printed no exit status"))?;
    Ok(Done { status, output })
}
