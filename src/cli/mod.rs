//! Command line: arguments only, one file per command.
//!
//! A command turns its arguments into the options of one operation in [`crate::ops`] and prints what
//! it returns. Probing, building and deciding happen there.

use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::error::Result;
use crate::ui::Ui;

mod assemble;
mod board_args;
mod boards;
mod build;
mod deploy;
mod doctor;
mod flash;
mod generate;
mod image;
mod import;
mod make;
mod plan;
mod run;
mod target;
mod test;
mod update;

pub use board_args::{BoardArgs, BuildArgs, KernelBuildArgs, SourceArgs};

/// Builds bootable images for embedded boards: kernel, modules, root filesystem, partitions.
#[derive(Debug, Parser)]
#[command(
    name = "bimg",
    version,
    max_term_width = 80,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: Command,
}

/// How much is said, and to whom.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print events and results as JSON lines on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Also print what the tools print
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print results and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a board's image
    Build(build::Build),
    /// Show what a build would do, and why
    Plan(plan::Plan),
    /// Run the kernel's make for a board
    ///
    /// Any goal of kbuild, with the compiler, configuration and object
    /// directory of the board's build: `menuconfig`, `savedefconfig`,
    /// `drivers/usb/core/hub.o`, `headers_install INSTALL_HDR_PATH=/dir`,
    /// `clean`, `mrproper`. What changes the configuration is printed as a
    /// fragment; the next build begins with the board's own again.
    Make(make::Make),
    /// Boot the image in QEMU on this terminal
    Run(run::Run),
    /// Boot the image in QEMU and check that it works
    Test(test::Test),
    /// Write an image to a drive, and read it back
    Flash(flash::Flash),
    /// Put a new kernel on running boards, and take it back when it does not come up
    Deploy(deploy::Deploy),
    /// Ask a running board about its kernels, go back, remove one
    #[command(subcommand)]
    Target(target::Target),
    /// Check that this host can build a board
    Doctor(doctor::Doctor),
    /// List, show and check board profiles
    #[command(subcommand)]
    Boards(boards::Boards),
    /// Look into finished images, check, compare and sign them
    #[command(subcommand)]
    Image(image::Image),
    /// Make an image of a layout and files that are there already
    ///
    /// The layout is the `[disk]` of a profile, such as `bimg import genimage`
    /// prints; its files are looked up in the input directory.
    Assemble(assemble::Assemble),
    /// Bring a board or a disk layout along from genimage or Buildroot
    #[command(subcommand)]
    Import(import::Import),
    /// Move the sources pinned in bimg.lock to their newest
    Update(update::Update),
    /// Print a completion script or the manual pages
    #[command(subcommand)]
    Generate(generate::Generate),
}

/// Where builds and images are kept.
#[derive(Debug, Clone, Args)]
pub struct DirArgs {
    /// Build trees, logs and stamps
    #[arg(
        long,
        value_name = "DIR",
        default_value = "build",
        env = "BIMG_BUILD_DIR",
        help_heading = "Directories"
    )]
    pub build_dir: PathBuf,
    /// Finished images, in a directory per board
    #[arg(
        long,
        value_name = "DIR",
        default_value = "out",
        env = "BIMG_OUT_DIR",
        help_heading = "Directories"
    )]
    pub out: PathBuf,
}

impl Cli {
    /// Reads the command line. One that cannot be read ends the process, with clap's words.
    pub fn read() -> Self {
        Cli::try_parse().unwrap_or_else(|error| {
            let words: Vec<String> =
                std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
            with_tip(error, &words).exit()
        })
    }

    /// How to talk to the user.
    pub fn output(&self) -> OutputArgs {
        self.output
    }

    /// Whether stdout is for the command's data alone, with `--json` too.
    pub fn is_data(&self) -> bool {
        matches!(&self.command, Command::Image(command) if command.is_data())
    }

    /// Does what was asked.
    pub fn run(self, ui: &Ui) -> Result<()> {
        match self.command {
            Command::Build(command) => command.run(ui),
            Command::Plan(command) => command.run(ui),
            Command::Make(command) => command.run(ui),
            Command::Run(command) => command.run(ui),
            Command::Test(command) => command.run(ui),
            Command::Flash(command) => command.run(ui),
            Command::Deploy(command) => command.run(ui),
            Command::Target(command) => command.run(ui),
            Command::Doctor(command) => command.run(ui),
            Command::Boards(command) => command.run(ui),
            Command::Image(command) => command.run(ui),
            Command::Assemble(command) => command.run(ui),
            Command::Import(command) => command.run(ui),
            Command::Update(command) => command.run(ui),
            Command::Generate(command) => command.run(),
        }
    }
}

/// The likeliest slip is a board's name that stands alone: says where it goes.
fn with_tip(mut error: clap::Error, words: &[String]) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return error };
    let is_named = words.iter().any(|word| word.starts_with("-b") || word.starts_with("--board"));
    let command = Cli::command();
    let takes_board = words
        .iter()
        .find_map(|word| command.find_subcommand(word))
        .is_some_and(|command| command.get_arguments().any(|argument| argument.get_long() == Some("board")));
    if error.kind() == ErrorKind::UnknownArgument && takes_board && !is_named && !argument.starts_with('-') {
        let tip = format!("a board is named with '--board {argument}'");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(path: &[&str]) -> String {
        let mut command = Cli::command();
        command.build();
        let found =
            path.iter().fold(&mut command, |command, name| command.find_subcommand_mut(name).unwrap());
        found.render_long_help().to_string()
    }

    /// The heading that an option stands under.
    fn heading(help: &str, option: &str) -> String {
        let is_heading = |line: &&str| line.ends_with(':') && !line.starts_with(' ');
        let (before, _) = help.split_once(&format!(" --{option} ")).unwrap();
        before.lines().rfind(is_heading).unwrap().to_string()
    }

    #[test]
    fn what_is_written_about_a_command_is_shown() {
        for (path, words) in [
            (&["image", "verify"][..], "Exits with 3 when something is wrong"),
            (&["image", "diff"], "Exits with 3 when they differ"),
            (&["image", "extract"], "Modes and symbolic links are kept"),
            (&["image", "sign"], "goes beside the file under its name and `.minisig`"),
            (&["image", "keygen"], "readable by you alone"),
            (&["assemble"], "The layout is the `[disk]` of a profile"),
        ] {
            let help = help(path);
            let shown: Vec<&str> = help.split_whitespace().collect();
            assert!(shown.join(" ").contains(words), "{help}");
        }
    }

    #[test]
    fn options_stand_under_their_own_heading() {
        let (build, test) = (help(&["build"]), help(&["test"]));
        for (help, option, expected) in [
            (&build, "format", "Options:"),
            (&build, "stage", "Options:"),
            (&build, "out", "Directories:"),
            (&test, "card-size", "Options:"),
            (&test, "ssh-key", "Options:"),
            (&test, "timeout", "Options:"),
            (&test, "build-dir", "Directories:"),
        ] {
            assert_eq!(heading(help, option), expected, "{option}");
        }
    }
}
