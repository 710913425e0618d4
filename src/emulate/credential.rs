//! Getting into a guest whose image holds no key and no password of ours.
//!
//! Whoever runs a machine hands it a credential beside the image, as systemd's credentials do
//! (systemd.io/CREDENTIALS): on `virt` an SSH key by QEMU's firmware configuration device
//! (`opt/bimg/ssh-key`), on a Raspberry Pi, which has no such device, a password hash in the device tree
//! (`/chosen`, `bimg,root-hash`). bimg's root filesystem honours both until power off. Neither opens
//! anything that was closed: who controls the device tree can have `init=/bin/sh` in its command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::guest::Login;
use super::spec::EmulatorSpec;
use crate::error::{Context, Result};
use crate::exec::Cmd;
use crate::fsx;

/// Name of the key in QEMU's firmware configuration device.
const FW_CFG: &str = "opt/bimg/ssh-key";
/// Password of the guests that take one, which listen to nobody but the process that started them.
const PASSWORD: &str = "bimg";
/// `openssl passwd -6 -salt bimg bimg`.
const PASSWORD_HASH: &str =
    "$6$bimg$WIrbKZW4.bA68oIuTCaXEVB8uX/J/mroq60xIuXrWNBVzAgosEjDHU6rxI1gxpqcbBUXHAaF7CAFjm0L9kC8n0";

/// Name of the guest in [`Credential::ssh_config`].
pub const GUEST: &str = "guest";

/// A credential for one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An SSH key, made for this boot.
    Key {
        /// The private half; the public one is beside it as `.pub`.
        private: PathBuf,
    },
    /// A password for the serial console.
    Password,
}

impl Credential {
    /// Makes what the machine can be handed, in `dir`.
    pub fn throwaway(spec: &EmulatorSpec, dir: &Path) -> Result<Self> {
        if spec.machine.raspberry_pi().is_some() {
            return Ok(Credential::Password);
        }
        fsx::create_dir_all(dir)?;
        let private = dir.join("key");
        fsx::remove_file(&private)?;
        Cmd::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "bimg", "-f"])
            .arg(&private)
            .check()
            .context(|| "cannot make a throwaway SSH key")?;
        Ok(Credential::Key { private })
    }

    /// How it is used.
    pub fn login(&self) -> Login {
        match self {
            Credential::Key { private } => Login::Ssh { key: private.clone() },
            Credential::Password => Login::Serial { user: "root".into(), password: PASSWORD.into() },
        }
    }

    /// For people, before the guest takes over the terminal. `config` is what [`Self::ssh_config`] wrote.
    pub fn describe(&self, config: Option<&Path>) -> String {
        match (self, config) {
            (Credential::Key { .. }, Some(config)) => format!("SSH: ssh -F {} {GUEST}", config.display()),
            (Credential::Key { .. }, None) => "this machine has no network".to_string(),
            (Credential::Password, _) => format!("for this boot, `root` has the password `{PASSWORD}`"),
        }
    }

    /// Writes a configuration for SSH in which the guest is called [`GUEST`]; `None` for a guest that SSH does not reach.
    pub fn ssh_config(&self, dir: &Path, port: Option<u16>) -> Result<Option<PathBuf>> {
        let (Credential::Key { private }, Some(port)) = (self, port) else { return Ok(None) };
        let known_hosts = dir.join("known_hosts");
        // The host key is made on the first boot, and every run is one.
        fsx::remove_file(&known_hosts)?;
        // Quotes keep a path with spaces whole (ssh_config(5)).
        let text = format!(
            "Host {GUEST}\n    HostName 127.0.0.1\n    Port {port}\n    User root\n    IdentityFile \"{}\"\n    \
             IdentitiesOnly yes\n    UserKnownHostsFile \"{}\"\n    StrictHostKeyChecking accept-new\n    \
             LogLevel ERROR\n",
            absolute(private)?.display(),
            absolute(&known_hosts)?.display(),
        );
        let path = dir.join("ssh_config");
        fsx::write_atomic(&path, text.as_bytes())?;
        Ok(Some(path))
    }

    /// QEMU's arguments for it.
    pub(super) fn args(&self) -> Vec<OsString> {
        match self {
            Credential::Key { private } => {
                // A comma inside an option's value is doubled.
                let file = private.with_extension("pub").display().to_string().replace(',', ",,");
                vec!["-fw_cfg".into(), format!("name={FW_CFG},file={file}").into()]
            }
            Credential::Password => Vec::new(),
        }
    }

    /// What it adds to the device tree, below `/chosen`: property and text. A command line would not do: a U-Boot
    /// between the machine and the kernel has its own.
    pub(super) fn chosen(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Credential::Key { .. } => None,
            Credential::Password => Some(("bimg,root-hash", PASSWORD_HASH)),
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|cause| fsx::io_error("find", path, &cause))
}
