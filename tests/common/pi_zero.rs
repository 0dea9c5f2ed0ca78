//! A Pi Zero for the mirror's tests: a real sshd on a free port of 127.0.0.1 with keys made for it, a real sudo, a user and a
//! configuration file of its own. Users, sudo's rules and ssh's hosts go into the private /etc that `scripts/in-namespace`
//! gives each test binary. `systemctl` can't run here: on both sides a stand-in of ours plays it, and says so.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::postgres::{Database, free_port, postgres};
use super::{Call, Run, Server, path_with, tool};

/// The configuration that the device has before: keys in no order, values that a parser would write otherwise.
pub const BEFORE: &str = r#"{
    "device_id": "HANDHELD-01",
    "mirror_mode": false,
    "retry": 1.50,
    "nested": {"z": [1,  2], "a": "\u56f3\u9762"},
    "primary_endpoint": "http://old.local:8080/api"
}
"#;

/// What `systemctl show`, `enable`, `disable`, `start`, `stop` and `restart` do as far as they are asked here: a unit's state
/// is in files, and a file `fail-WORD` makes WORD fail, `do-WORD` is run before.
const SYSTEMCTL: &str = r#"#!/bin/sh
# A stand-in for systemctl: there is no systemd in the tests.
state=STATE
printf '%s\n' "$*" >>"$state/calls"
word=$1
shift
now=''
while [ $# -gt 0 ]; do
	case $1 in
	--now) now=yes ;;
	--) ;;
	-*) ;;
	*) units="$units $1" ;;
	esac
	shift
done
[ ! -e "$state/do-$word" ] || . "$state/do-$word"
if [ -e "$state/fail-$word" ]; then
	echo "Failed to $word unit: the stand-in was told to fail" >&2
	exit 1
fi
for unit in $units; do
	case $word in
	show)
		active=inactive enabled=''
		[ ! -e "$state/$unit" ] || enabled=$(cat "$state/$unit")
		[ ! -e "$state/$unit.active" ] || active=active
		printf 'ActiveState=%s\nUnitFileState=%s\n\n' "$active" "$enabled"
		;;
	enable) echo enabled >"$state/$unit" && [ -z "$now" ] || : >"$state/$unit.active" ;;
	disable) echo disabled >"$state/$unit" && [ -z "$now" ] || rm -f "$state/$unit.active" ;;
	start | restart) : >"$state/$unit.active" ;;
	stop) rm -f "$state/$unit.active" ;;
	esac
done
"#;

/// Runs sshd, and ends it once nobody holds the pipe any more.
const KEEPER: &str = r#"/usr/sbin/sshd -D -e -f "$1" & read -r _ || true; kill $!; wait $! || true"#;

/// The Pi Zero and the server that mirrors it.
pub struct Site {
    /// The server.
    pub server: Server,
    /// Primary and mirror.
    pub databases: Option<[Database; 2]>,
    user: String,
    dir: tempfile::TempDir,
    port: u16,
    keeper: Option<Child>,
}

/// The table of SPEC 9.
pub const TABLE: &str = "CREATE TABLE part_locations (order_code text PRIMARY KEY, location_code text, device_id text, \
    last_scan_id text, scanned_at timestamptz, updated_at timestamptz);";

impl Site {
    /// A Pi Zero that is up, without databases.
    pub fn new() -> Site {
        let mut site = Site::down();
        site.start_sshd();
        site
    }

    /// The same with two databases, each with the table and three rows.
    pub fn with_databases() -> Site {
        let mut site = Site::databases_only();
        site.start_sshd();
        site
    }

    /// The databases of that, and nobody listens on the Pi Zero.
    pub fn databases_only() -> Site {
        let databases = [postgres().database(), postgres().database()];
        for database in &databases {
            database.psql(TABLE);
            database.psql(
                "INSERT INTO part_locations SELECT 'OC-' || n, '棚' || n, 'HANDHELD-01', n, to_timestamp(n), 'infinity' \
                 FROM generate_series(1, 3) n",
            );
        }
        let mut site = Site::down();
        site.databases = Some(databases);
        site.configure(|_| {});
        site
    }

    /// A Pi Zero on which nobody listens.
    pub fn down() -> Site {
        static NUMBER: Mutex<u32> = Mutex::new(0);
        let mut number = NUMBER.lock().unwrap();
        *number += 1;
        let user = format!("pi{number}");
        let dir = tempfile::tempdir().unwrap();
        let site = Site { server: Server::new(), databases: None, user, dir, port: free_port(), keeper: None };
        fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(site.server.path("logs")).unwrap();
        for side in ["here", "there"] {
            site.systemctl_of(side);
        }
        fs::write(site.path("here/state/mirror-compare.timer"), "disabled\n").unwrap();
        fs::write(site.path("here/state/mirror-compare.service"), "static\n").unwrap();
        fs::create_dir(site.path("etc")).unwrap();
        site.write_device_config(BEFORE);
        site.make_user(*number);
        site.make_keys();
        site.configure(|_| {});
        site
    }

    /// A path of the site's own files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn systemctl_of(&self, side: &str) {
        let state = self.path(side).join("state");
        fs::create_dir_all(&state).unwrap();
        fs::create_dir_all(self.path(side).join("bin")).unwrap();
        let script = self.path(side).join("bin/systemctl");
        fs::write(&script, SYSTEMCTL.replace("STATE", state.to_str().unwrap())).unwrap();
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A file of the stand-in `systemctl` on a side, `here` or `there`: `fail-enable`, `do-restart`, …
    pub fn stand_in(&self, side: &str, name: &str, content: &str) {
        fs::write(self.path(side).join("state").join(name), content).unwrap();
    }

    /// A program that stands in for one of the Pi Zero's.
    pub fn device_program(&self, name: &str, script: &str) {
        let file = self.path("there/bin").join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn write_device_config(&self, text: &str) {
        let path = self.device_config();
        fs::write(&path, text).unwrap();
        std::os::unix::fs::chown(&path, Some(0), Some(33)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    }

    /// The user of the Pi Zero: no password, one key, sudo without a password.
    fn make_user(&self, number: u32) {
        let (user, id, home) = (&self.user, 70_000 + number, self.path("home"));
        fs::create_dir(&home).unwrap();
        let add = |file: &str, line: String| {
            let file = OpenOptions::new().append(true).create(true).open(file).unwrap();
            (&file).write_all(line.as_bytes()).unwrap();
        };
        add("/etc/passwd", format!("{user}:x:{id}:{id}::{}:/bin/sh\n", home.display()));
        add("/etc/group", format!("{user}:x:{id}:\n"));
        add("/etc/shadow", format!("{user}:*:20000:0:99999:7:::\n"));
        self.allow_sudo();
    }

    fn sudo_rule(&self) -> PathBuf {
        Path::new("/etc/sudoers.d").join(&self.user)
    }

    fn allow_sudo(&self) {
        let user = &self.user;
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("there/bin").display());
        let rule = format!("Defaults:{user} secure_path=\"{path}\"\n{user} ALL=(root) NOPASSWD: ALL\n");
        fs::write(self.sudo_rule(), rule).unwrap();
        fs::set_permissions(self.sudo_rule(), fs::Permissions::from_mode(0o440)).unwrap();
    }

    /// From now on sudo asks for a password.
    pub fn refuse_sudo(&self) {
        fs::remove_file(self.sudo_rule()).unwrap();
    }

    /// Gives the user a login shell that talks before it does what it is told.
    pub fn noisy_shell(&self) {
        self.device_program("noisy", "echo 'welcome to'; echo mirrorctl-host; exec /bin/sh \"$@\"");
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let of_user = |line: &str| line.starts_with(&format!("{}:", self.user));
        let shell = self.path("there/bin/noisy").display().to_string();
        let changed = |line: &str| if of_user(line) { line.replace("/bin/sh", &shell) } else { line.to_owned() };
        fs::write("/etc/passwd", users.lines().map(|line| changed(line) + "\n").collect::<String>()).unwrap();
    }

    fn make_keys(&self) {
        for key in ["host_key", "user_key"] {
            let file = self.path(key);
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "throw-away", "-f", file.to_str().unwrap()];
            tool("ssh-keygen", &arguments);
        }
        fs::copy(self.path("user_key.pub"), self.path("authorized_keys")).unwrap();
        let host_key = fs::read_to_string(self.path("host_key.pub")).unwrap();
        fs::write(self.path("known_hosts"), format!("[127.0.0.1]:{} {host_key}", self.port)).unwrap();
        let (host, port, at) = (self.host(), self.port, self.path("").display().to_string());
        let client = format!(
            "Host {host}\n HostName 127.0.0.1\n Port {port}\n IdentityFile {at}/user_key\n IdentitiesOnly yes\n \
             UserKnownHostsFile {at}/known_hosts\n"
        );
        fs::create_dir_all("/etc/ssh/ssh_config.d").unwrap();
        fs::write(format!("/etc/ssh/ssh_config.d/{host}.conf"), client).unwrap();
    }

    fn start_sshd(&mut self) {
        let at = self.path("").display().to_string();
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/authorized_keys\n\
             PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin no\nUseDNS no\n",
            self.port
        );
        fs::write(self.path("sshd_config"), config).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let log = fs::File::create(self.path("sshd.log")).unwrap();
        let keeper = Command::new("setsid")
            .args(["sh", "-euc", KEEPER, "keeper"])
            .arg(self.path("sshd_config"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.keeper = Some(keeper);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || fs::read_to_string(self.path("sshd.log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(20), "sshd does not come up (openssh-server?): {}", log());
            sleep(Duration::from_millis(20));
        }
    }

    /// Ends sshd: from now on nobody listens.
    pub fn stop_sshd(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    /// What sshd said.
    pub fn sshd_log(&self) -> String {
        fs::read_to_string(self.path("sshd.log")).unwrap()
    }

    /// The host's name for ssh.
    pub fn host(&self) -> String {
        format!("zero-{}", self.user)
    }

    /// The port that sshd listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The login as messages name it.
    pub fn login(&self) -> String {
        format!("{}@{}", self.user, self.host())
    }

    /// Writes mirrorctl's configuration, changed by `edit`.
    pub fn configure(&self, edit: impl FnOnce(&mut serde_json::Value)) {
        let mut config = serde_json::json!({
            "pi_zero_host": self.host(),
            "ssh_user": self.user,
            "config_path": self.device_config(),
            "status_dir": self.path("status"),
            "mirror_endpoint": "http://new.local:8080/api?a='b\"c $(reboot) `reboot` \\ ; 図",
            "primary_endpoint": "http://primary.local:8080/api",
        });
        if let Some([primary, mirror]) = &self.databases {
            config["primary_db_uri"] = postgres().uri_text(&primary.name).into();
            config["mirror_db_uri"] = postgres().uri_text(&mirror.name).into();
        }
        edit(&mut config);
        fs::write(self.path("config.json"), config.to_string()).unwrap();
    }

    /// The device's configuration file.
    pub fn device_config(&self) -> PathBuf {
        self.path("etc").join("config.json")
    }

    /// Everything that can be seen of both sides: the device's files with owner and mode, its service, our timer, counter.
    pub fn state(&self) -> String {
        let mut state = String::new();
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.path("etc")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let meta = fs::metadata(&file).unwrap();
            let text = fs::read_to_string(&file).unwrap_or_default();
            let name = file.file_name().unwrap().display();
            state += &format!("{name} {}:{} {:o}\n{text}", meta.uid(), meta.gid(), meta.mode() & 0o7777);
        }
        let text = |name: &str| fs::read_to_string(self.path(name)).unwrap_or("-\n".to_owned());
        let active = |name: &str| self.path(name).exists();
        state
            + &format!("service: {}\n", active("there/state/onsite-handheld.service.active"))
            + &format!("timer: {}", text("here/state/mirror-compare.timer"))
            + &format!("active: {}\n", active("here/state/mirror-compare.timer.active"))
            + &format!("counter: {}", text("status/ok_counter"))
    }

    /// What the stand-in `systemctl` of a side was asked, and forgets it.
    pub fn calls(&self, side: &str) -> Vec<String> {
        let file = self.path(side).join("state/calls");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        text.lines().map(str::to_owned).collect()
    }

    /// A line of a log of the mirror's.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.server.path("logs").join(name)).unwrap_or_default()
    }

    /// `mirrorctl` with an argument.
    pub fn mirrorctl(&self, word: &str) -> Call<'_> {
        self.call(&["mirror", word])
    }

    /// `mirror_compare.py`.
    pub fn compare(&self) -> Call<'_> {
        self.call(&["mirror-compare"])
    }

    /// Any command line of ours.
    pub fn call(&self, arguments: &[&str]) -> Call<'_> {
        Call::new(&self.server, arguments, None)
            .var("MIRRORCTL_CONFIG", self.path("config.json"))
            .var("PATH", path_with(&self.path("here/bin")))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop_sshd();
    }
}

/// The lines that it logged, all of them.
pub fn lines(run: &Run) -> Vec<&str> {
    run.stderr.lines().collect()
}
