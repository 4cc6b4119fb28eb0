//! The `kvmctl` program.

use std::io::BufRead;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut secret = |prompt: Option<&str>| match prompt {
        Some(prompt) => rpassword::prompt_password(prompt).map_err(|error| {
            let text = format!("no terminal to ask at ({error}): log in with ssh -t, or use --read-stdin");
            std::io::Error::new(error.kind(), text)
        }),
        None => {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line)?;
            Ok(line.trim_end_matches(['\r', '\n']).to_owned())
        }
    };
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let exit = ctl::run(
        std::env::args_os(),
        &mut ctl::Console { out: &mut out, err: &mut err, secret: &mut secret },
    );
    ExitCode::from(exit as u8)
}
