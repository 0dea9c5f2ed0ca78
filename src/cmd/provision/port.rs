//! A port that Docker does not give back. A power cut while a container is being started leaves its port on Docker's record; the next
//! boot's Docker takes it up, starts its `docker-proxy`, removes the record, and from then on refuses the port to that very container
//! ("port is already allocated", github.com/moby/moby/issues/25981). Seen in the booted image. Started anew, it knows nothing of it any more.

use std::path::Path;

use log::info;

use super::container::{NEXT, QUESTION};
use crate::error::{Error, Result};
use crate::os::process::{Output, Program};
use crate::os::systemd;

/// The database's container, as config/docker-compose.yml names it.
const CONTAINER: &str = "postgres";
/// Docker was started anew in this boot: a second time would not help.
const TRIED: &str = "/run/toolmaster/docker-restarted";

/// Has Docker start anew, once a boot, if it holds a port of the database's container though that does not run.
///
/// # Errors
/// `Busy` if it does: raspi-server.service is tried again. `Failed` if it did already; `Io`, `Interrupted`.
pub fn give_back() -> Result<()> {
    let Some(port) = ports_of_idle()?.into_iter().find(|port| is_held(port)) else { return Ok(()) };
    let why = format!("Docker holds port {port} of {CONTAINER}, which does not run");
    let tried = Path::new(TRIED);
    if tried.exists() {
        return Err(Error::Failed { why, next: "start the machine anew" });
    }
    let fail = |error| Error::io("write", tried, error);
    std::fs::create_dir_all(tried.parent().unwrap_or(tried)).map_err(fail)?;
    std::fs::write(tried, "").map_err(fail)?;
    info!("{why}: starting Docker anew");
    systemd::restart_no_block("docker.service")?;
    Err(Error::Busy { why, next: "wait: Docker and the database are being started anew" })
}

/// The ports on this machine of the database's container; none while it runs, or where there is none.
fn ports_of_idle() -> Result<Vec<String>> {
    let format = "{{.State.Running}}{{range .HostConfig.PortBindings}}{{range .}} {{.HostPort}}{{end}}{{end}}";
    let arguments = ["container", "inspect", "--format", format, CONTAINER];
    let ended = Program::new(Path::new("docker"), &arguments, QUESTION, NEXT).output(Output::Text(4096)).end()?;
    let text = String::from_utf8_lossy(ended.text.trim_ascii()).into_owned();
    let ports = text.strip_prefix("false").filter(|_| ended.status.success()).unwrap_or_default();
    Ok(ports.split_whitespace().map(str::to_owned).collect())
}

/// Whether a `docker-proxy` listens at the port.
fn is_held(port: &str) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"docker-proxy"))
            && words.any(|word| word == b"-host-port")
            && words.next() == Some(port.as_bytes())
    })
}
