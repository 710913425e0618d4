//! bimg: parse, run, render the error, exit code.

use std::process::ExitCode;

use bimg::cli::Cli;
use bimg::interrupt;
use bimg::ui::{Options, Ui};

fn main() -> ExitCode {
    let cli = Cli::read();
    let output = cli.output();
    let ui = Ui::new(Options {
        json: output.json,
        data: cli.is_data(),
        verbose: output.verbose,
        quiet: output.quiet,
    });
    match interrupt::install().and_then(|()| cli.run(&ui)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.fail(&error);
            ExitCode::from(error.exit().code())
        }
    }
}
