//! A machine in QEMU: the image on an overlay that is thrown away, its switches over QMP, its console in a file.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::shell::{Shell, quiet};
use crate::{Outcome, fail};

/// QEMU answers at once; only the emulated machine is slow.
const ANSWER: Duration = Duration::from_secs(60);
/// What a slow stick takes and gives in a second, bytes; one that is in when the machine is switched on is slow.
pub const SLOW: u64 = 1_500_000;

/// How the machine's disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk.
    Virtio,
    /// USB mass storage.
    Usb,
    /// NVMe.
    Nvme,
}

/// What a machine is started with.
pub struct Start<'a> {
    /// The files of the image, without their endings.
    pub image: &'a Path,
    /// A qcow2 file; a raw one, if its writes are logged.
    pub disk: &'a Path,
    /// A new file for the log of the disk's writes.
    pub log: Option<&'a Path>,
    /// Where its disk sits.
    pub bus: Bus,
    /// Sticks that are plugged in when it is switched on.
    pub sticks: &'a [&'a Path],
    /// For sockets, console and keys; one machine at a time.
    pub run: &'a Path,
    /// Added to the kernel's command line.
    pub append: &'a str,
    /// What its clock says at power-on, UTC; without it that is right.
    pub clock: Option<&'a str>,
}

/// A running machine. Dropping it is pulling its mains plug.
pub struct Vm {
    process: Child,
    /// The process that runs QEMU ends it when this closes, however we end.
    lifeline: Option<ChildStdin>,
    qmp: BufReader<UnixStream>,
    run: PathBuf,
    port: u16,
    plugged: Vec<String>,
    /// Since it was switched on.
    pub started: Instant,
}

/// Makes the throw-away overlay of the image, on a disk of so many GiB: larger than the image, as any real one.
pub fn overlay(image: &Path, disk: &Path, size: u64) -> Outcome<()> {
    let _ = fs::remove_file(disk);
    let base = image.with_extension("img");
    quiet(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(base)
            .arg(disk)
            .arg(format!("{size}G")),
    )
}

impl Vm {
    /// Switches a machine on.
    pub fn start(start: &Start) -> Outcome<Self> {
        let run = start.run;
        fs::create_dir_all(run).map_err(|error| format!("{}: {error}", run.display()))?;
        let key = run.join("key");
        if !key.exists() {
            quiet(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "vm-test", "-f"]).arg(&key))?;
        }
        let socket = run.join("qmp");
        let _ = fs::remove_file(&socket);
        let port = free_port()?;
        let console = File::create(run.join("qemu.log")).map_err(|error| error.to_string())?;
        let mut process = Command::new("sh")
            .args(["-c", r#""$@" </dev/null & q=$!; cat >/dev/null; kill -9 $q 2>/dev/null; wait $q"#, "sh"])
            .args(arguments(start, &socket, port)?)
            .stdin(Stdio::piped())
            .stdout(console.try_clone().map_err(|error| error.to_string())?)
            .stderr(console)
            .spawn()
            .map_err(|error| format!("qemu-system-aarch64: {error}"))?;
        let lifeline = process.stdin.take();
        let started = Instant::now();
        let qmp = connect(&socket, run)?;
        let mut vm = Self {
            process,
            lifeline,
            qmp: BufReader::new(qmp),
            run: run.to_owned(),
            port,
            plugged: (0..start.sticks.len()).map(early).collect(),
            started,
        };
        vm.read_answer("greeting", |value| value.get("QMP").is_some())?;
        vm.order("qmp_capabilities", json!({}))?;
        Ok(vm)
    }

    /// Logs in as root, as soon as it lets us.
    pub fn shell(&self, limit: Duration) -> Outcome<Shell> {
        Shell::open(&self.run.join("key"), self.port, limit)
            .map_err(|error| format!("{error}\n{}", self.console_tail()))
    }

    /// Puts a stick into a USB port.
    pub fn plug(&mut self, name: &str, file: &Path) -> Outcome<()> {
        self.plug_node(name, json!({"driver": "raw", "file": {"driver": "file", "filename": file}}))
    }

    /// Puts a slow stick in: so many bytes are written and read in a second.
    pub fn plug_slow(&mut self, name: &str, file: &Path, bytes: u64) -> Outcome<()> {
        let group = format!("{name}-limit");
        let limits = json!({"bps-total": bytes});
        self.order("object-add", json!({"qom-type": "throttle-group", "id": group, "limits": limits}))?;
        let file = json!({"driver": "raw", "file": {"driver": "file", "filename": file}});
        self.plug_node(name, json!({"driver": "throttle", "throttle-group": group, "file": file}))
    }

    /// Lets a slow stick take what comes from now on.
    pub fn hurry(&mut self, name: &str) -> Outcome<()> {
        let path = format!("/objects/{name}-limit");
        self.order("qom-set", json!({"path": path, "property": "limits", "value": {"bps-total": 1 << 30}})).map(drop)
    }

    /// Puts a failing stick in: its n-th reading or writing ends with an I/O error, and, if it stays, so do all after it.
    pub fn plug_failing(&mut self, name: &str, file: &Path, reading: bool, number: u64, stays: bool) -> Outcome<()> {
        let event = if reading { "read_aio" } else { "write_aio" };
        let count: Vec<Value> =
            (1..number).map(|state| json!({"event": event, "state": state, "new_state": state + 1})).collect();
        let error = json!({"event": event, "state": number, "errno": 5, "once": !stays});
        let image = json!({"driver": "file", "filename": file});
        let mut debug = json!({"driver": "blkdebug", "image": image, "inject-error": [error]});
        // An empty list is none to QEMU.
        if let (Some(debug), false) = (debug.as_object_mut(), count.is_empty()) {
            debug.insert("set-state".to_owned(), json!(count));
        }
        self.plug_node(name, json!({"driver": "raw", "file": debug}))
    }

    /// Puts a stick in of which a sector of 512 bytes can't be read.
    pub fn plug_bad_sector(&mut self, name: &str, file: &Path, sector: u64) -> Outcome<()> {
        let error = json!({"event": "read_aio", "errno": 5, "sector": sector});
        let image = json!({"driver": "file", "filename": file});
        let debug = json!({"driver": "blkdebug", "image": image, "inject-error": [error]});
        self.plug_node(name, json!({"driver": "raw", "file": debug}))
    }

    fn plug_node(&mut self, name: &str, mut node: Value) -> Outcome<()> {
        if let Some(node) = node.as_object_mut() {
            node.insert("node-name".to_owned(), json!(name));
        }
        self.order("blockdev-add", node)?;
        let device = json!({"driver": "usb-storage", "id": format!("usb-{name}"), "drive": name, "removable": true,
            "bus": "sticks.0", "serial": name});
        self.order("device_add", device)?;
        self.plugged.push(name.to_owned());
        Ok(())
    }

    /// Puts a keyboard in: its lights are of the kernel's leds-class.
    pub fn plug_keyboard(&mut self) -> Outcome<()> {
        self.order("device_add", json!({"driver": "usb-kbd", "id": "keyboard", "bus": "sticks.0"})).map(drop)
    }

    /// Pulls the keyboard out.
    pub fn pull_keyboard(&mut self) -> Outcome<()> {
        self.order("device_del", json!({"id": "keyboard"})).map(drop)
    }

    /// Pulls a stick out, without asking anyone.
    pub fn pull(&mut self, name: &str) -> Outcome<()> {
        self.order("device_del", json!({"id": format!("usb-{name}")}))?;
        let limit = Instant::now() + ANSWER;
        while let Err(error) = self.order("blockdev-del", json!({"node-name": name})) {
            if Instant::now() > limit {
                return fail(format!("the stick {name} can't be pulled: {error}"));
            }
            sleep(Duration::from_millis(50));
        }
        self.plugged.retain(|other| other != name);
        // Only a slow stick has one.
        let _ = self.order("object-del", json!({"id": format!("{name}-limit")}));
        Ok(())
    }

    /// Pulls every stick that a case left in.
    pub fn pull_all(&mut self) {
        for name in self.plugged.clone() {
            let _ = self.pull(&name);
        }
    }

    /// Stops it between two of its instructions, when what it has asked of its disks is done. QEMU ends the log of a disk with a
    /// flush of its own then.
    pub fn stop(&mut self) -> Outcome<()> {
        self.order("stop", json!({})).map(drop)
    }

    /// Presses the power button and waits until it is off.
    pub fn switch_off(mut self, shell: &mut Shell, limit: Duration) -> Outcome<()> {
        shell.send("systemctl poweroff")?;
        let end = Instant::now() + limit;
        // QEMU closes the socket when it ends.
        let _ = self.qmp.get_ref().set_read_timeout(Some(Duration::from_secs(1)));
        let mut line = String::new();
        while Instant::now() < end {
            line.clear();
            match self.qmp.read_line(&mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return fail(format!("QMP: {error}")),
            }
        }
        fail(format!("it is still on {} s after \"systemctl poweroff\"\n{}", limit.as_secs(), self.console_tail()))
    }

    /// The end of what it wrote to its serial console.
    pub fn console_tail(&self) -> String {
        let text = fs::read(self.run.join("console.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let said = fs::read_to_string(self.run.join("qemu.log")).unwrap_or_default();
        format!("console:\n{}\n{said}", lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n"))
    }

    fn order(&mut self, command: &str, arguments: Value) -> Outcome<Value> {
        let order = json!({"execute": command, "arguments": arguments});
        writeln!(self.qmp.get_mut(), "{order}").map_err(|error| format!("QMP {command}: {error}"))?;
        let answer =
            self.read_answer(command, |value| value.get("return").is_some() || value.get("error").is_some())?;
        match answer.get("error") {
            Some(error) => fail(format!("QMP {command}: {}", error["desc"].as_str().unwrap_or_default())),
            None => Ok(answer["return"].clone()),
        }
    }

    fn read_answer(&mut self, to: &str, wanted: impl Fn(&Value) -> bool) -> Outcome<Value> {
        let mut line = String::new();
        loop {
            line.clear();
            match self.qmp.read_line(&mut line) {
                Ok(1..) => {}
                Ok(0) => return fail(format!("QEMU has ended before its answer to {to}\n{}", self.console_tail())),
                Err(error) => return fail(format!("QMP {to}: {error}")),
            }
            let value: Value = serde_json::from_str(&line).map_err(|error| format!("QMP {to}: {error}: {line}"))?;
            if wanted(&value) {
                return Ok(value);
            }
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.process.wait();
    }
}

fn arguments(start: &Start, socket: &Path, port: u16) -> Outcome<Vec<String>> {
    let read = |path: PathBuf| fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()));
    let cmdline = read(start.image.with_extension("cmdline"))?;
    let key = read(start.run.join("key.pub"))?;
    let append = format!("console=ttyAMA0 {} {}", cmdline.trim(), start.append);
    let drive = match start.bus {
        Bus::Virtio => "virtio-blk-pci,drive=disk",
        Bus::Usb => "usb-storage,drive=disk,bus=xhci.0,serial=ssd",
        Bus::Nvme => "nvme,drive=disk,serial=ssd",
    };
    let shown = |path: &Path| path.display().to_string();
    let mut words: Vec<String> = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "2048"]
        .iter()
        .chain(&["-accel", "tcg,thread=multi,tb-size=512", "-nodefaults", "-display", "none", "-no-reboot"])
        .map(|&word| word.to_owned())
        .collect();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    add("-kernel", shown(&start.image.with_extension("kernel")));
    add("-initrd", shown(&start.image.with_extension("initrd")));
    add("-append", append);
    add("-serial", format!("file:{}", shown(&start.run.join("console.log"))));
    add("-qmp", format!("unix:{},server=on,wait=off", shown(socket)));
    add("-device", "qemu-xhci,id=xhci".to_owned());
    // A controller of their own for sticks: the disk on USB keeps its port.
    add("-device", "qemu-xhci,id=sticks,p2=8,p3=8".to_owned());
    match start.log {
        None => add("-drive", format!("if=none,id=disk,format=qcow2,cache=unsafe,file={}", shown(start.disk))),
        Some(log) => add("-blockdev", logged(&shown(start.disk), &shown(log))),
    }
    add("-device", drive.to_owned());
    for (number, stick) in start.sticks.iter().enumerate() {
        let name = early(number);
        add("-object", format!("throttle-group,id={name}-limit,x-bps-total={SLOW}"));
        add(
            "-blockdev",
            format!(
                "driver=throttle,node-name={name},throttle-group={name}-limit,file.driver=raw,file.file.driver=file,\
                 file.file.filename={}",
                shown(stick)
            ),
        );
        add("-device", format!("usb-storage,id=usb-{name},bus=sticks.0,removable=on,drive={name},serial={name}"));
    }
    if let Some(clock) = start.clock {
        add("-rtc", format!("base={clock}"));
    }
    // No way out but the one way in for ssh.
    add("-netdev", format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"));
    add("-device", "virtio-net-pci,netdev=net,romfile=".to_owned());
    add("-device", "virtio-rng-pci".to_owned());
    // systemd takes it for a credential; so the image needs no door of its own for tests.
    add("-fw_cfg", format!("name=opt/io.systemd.credentials/ssh.authorized_keys.root,string={}", key.trim()));
    Ok(words)
}

/// A disk whose writes and flushes go into a log too (tests/vm/replay.rs). The flushes reach the log, not this machine's disk.
fn logged(disk: &str, log: &str) -> String {
    format!(
        "driver=blklogwrites,node-name=disk,log-sector-size=512,log-super-update-interval=256,file.driver=file,file.filename={disk},file.cache.no-flush=on,\
         log.driver=file,log.filename={log},log.cache.no-flush=on"
    )
}

/// The name of a stick that is in when the machine is switched on.
fn early(number: usize) -> String {
    format!("early{number}")
}

fn free_port() -> Outcome<u16> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no port is free: {error}"))
}

fn connect(socket: &Path, run: &Path) -> Outcome<UnixStream> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => {
                stream.set_read_timeout(Some(ANSWER)).map_err(|error| error.to_string())?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > end => {
                let said = fs::read_to_string(run.join("qemu.log")).unwrap_or_default();
                return fail(format!("QEMU does not start: {error}\n{said}"));
            }
            Err(_) => sleep(Duration::from_millis(100)),
        }
    }
}
