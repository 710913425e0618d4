//! `bimg deploy`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use crate::cli::BuildArgs;
use crate::deploy::fleet::Pace;
use crate::deploy::hosts::Hosts;
use crate::deploy::payload::Parts;
use crate::error::Result;
use crate::ops::{self, DeployOptions};
use crate::ssh::Options;
use crate::ui::{self, Ui};

/// How to reach boards.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct SshArgs {
    /// Trust a host that is not known yet, and remember its key; a changed key is always refused
    #[arg(long)]
    accept_new: bool,
    /// SSH configuration in place of your own
    #[arg(long, value_name = "FILE", env = "BIMG_SSH_CONFIG")]
    ssh_config: Option<PathBuf>,
    /// Seconds to wait for a host to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    connect_timeout: u64,
}

impl SshArgs {
    /// As connections want it.
    pub fn options(&self) -> Options {
        Options {
            config: self.ssh_config.clone(),
            accept_new: self.accept_new,
            timeout: Duration::from_secs(self.connect_timeout),
        }
    }
}

/// Put a new kernel on running boards, and take it back when it does not come up
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("boards").args(["host", "group"]).required(true).multiple(true))]
pub struct Deploy {
    #[command(flatten)]
    build: BuildArgs,
    /// [USER@]HOST[:PORT], or a name of hosts.toml; may be repeated
    #[arg(long, value_name = "HOST", help_heading = "Boards")]
    host: Vec<String>,
    /// Group of hosts.toml; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Boards")]
    group: Vec<String>,
    /// Boards at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Boards")]
    parallel: u16,
    /// Boards that must all do well before the others begin
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Boards")]
    canary: u16,
    /// Begin no further board after that many failures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Boards")]
    max_failures: Option<u16>,
    #[command(flatten)]
    ssh: SshArgs,
    /// Shell command that must succeed on the board for the kernel to stay; may be repeated
    #[arg(long, value_name = "COMMAND", help_heading = "What")]
    check: Vec<String>,
    /// Replace the kernel image only
    #[arg(long, help_heading = "What", group = "part")]
    kernel_only: bool,
    /// Replace the modules only
    #[arg(long, help_heading = "What", group = "part")]
    modules_only: bool,
    /// Replace device trees and overlays only
    #[arg(long, help_heading = "What", group = "part")]
    dtb_only: bool,
    /// Build this module, load it in place of the running one, and show what the kernel says; nothing is installed
    #[arg(long, value_name = "NAME", help_heading = "What", group = "part", conflicts_with_all = ["check", "no_reboot", "dry_run", "no_build", "parallel", "canary", "max_failures"])]
    module: Option<String>,
    /// Install the kernel, and boot it later
    #[arg(long, help_heading = "How")]
    no_reboot: bool,
    /// Tell what would be sent; the board is only looked at
    #[arg(long, help_heading = "How")]
    dry_run: bool,
    /// Take what the last build left; fail when it is not up to date
    #[arg(long, help_heading = "How")]
    no_build: bool,
}

impl Deploy {
    /// Builds, deploys, reports.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let build = self.build.options()?;
        let one = self.kernel_only || self.modules_only || self.dtb_only;
        let options = DeployOptions {
            places: Hosts::user()?.places(&self.host, &self.group)?,
            ssh: self.ssh.options(),
            parts: Parts {
                kernel: self.kernel_only || !one,
                dtbs: self.dtb_only || !one,
                modules: self.modules_only || !one,
            },
            checks: self.check,
            no_reboot: self.no_reboot,
            dry_run: self.dry_run,
            no_build: self.no_build,
            pace: Pace {
                parallel: self.parallel.into(),
                canary: self.canary.into(),
                max_failures: self.max_failures.map(usize::from),
            },
        };
        if let Some(module) = &self.module {
            let report = ops::deploy_module(&build, &options, module, ui)?;
            ui::said(&if ui.is_json() { report.json()? } else { report.text() })?;
            return report.failure();
        }
        let report = ops::deploy(&build, &options, ui)?;
        ui::said(&if ui.is_json() { report.json()? } else { report.text() })?;
        report.failure()
    }
}
