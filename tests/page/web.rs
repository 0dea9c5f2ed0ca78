//! The web server, as its unit has it run: systemd's stand-in `systemd-socket-activate` listens and starts it for each
//! connection. What the unit confines is for the booted image.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::common::postgres::free_port;
use super::common::tool;

/// The words after `Exec…=` in a unit, with other paths.
fn command(unit: &str, key: &str, paths: &[(&str, &Path)]) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit);
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let words = line
        .trim_start_matches('-')
        .split(' ')
        .map(|word| paths.iter().fold(word.to_owned(), |word, (from, to)| word.replace(from, to.to_str().unwrap())));
    words.collect()
}

struct Web {
    port: u16,
    child: Child,
    _dir: tempfile::TempDir,
    page: PathBuf,
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Web {
    fn new() -> Web {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("page");
        fs::create_dir_all(home.join("cgi-bin")).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/web");
        let conf = fs::read_to_string(shipped.join("httpd.conf")).unwrap();
        fs::write(dir.path().join("httpd.conf"), conf.replace("/usr/local/toolmaster/web", shipped.to_str().unwrap()))
            .unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let paths = [("/usr/local/toolmaster/web", dir.path()), ("/run/toolmaster-page", &*home)];
        let words = command("toolmaster-web@.service", "ExecStart=", &paths);
        let port = free_port();
        let mut listen = Command::new("systemd-socket-activate");
        listen.args(["--accept", "--inetd", "--listen", &format!("127.0.0.1:{port}")]).args(words);
        let child = listen.stderr(Stdio::null()).spawn().expect("systemd-socket-activate (apt-get install systemd)");
        let web = Web { port, child, page: home.join("index.html"), _dir: dir };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "nobody listens");
            std::thread::sleep(Duration::from_millis(10));
        }
        web
    }

    /// The status line and the body that a request is answered with.
    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: server\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {answer}"));
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

#[test]
fn the_web_server_shows_the_page_and_nothing_else() {
    let web = Web::new();
    let missing = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/web/missing.html")).unwrap();
    // No page, because nobody writes it: the panel says so and asks again by itself.
    let (status, body) = web.ask("GET /");
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 404 Not Found", missing.as_str()));
    assert!(body.contains("http-equiv=\"refresh\"") && body.contains("lang=\"ja\""));
    super::xml::read(&body);
    fs::write(&web.page, "<p>頁</p>").unwrap();
    for path in ["/", "/index.html"] {
        assert_eq!(web.ask(&format!("GET {path}")), ("HTTP/1.1 200 OK".to_owned(), "<p>頁</p>".to_owned()));
    }
    for path in ["/../secret", "/%2e%2e/secret", "//etc/passwd", "/cgi-bin/x", "/favicon.ico", "/.."] {
        let (status, body) = web.ask(&format!("GET {path}"));
        assert!(status.contains(" 40") && !body.contains("secret\n") && !body.contains("root:"), "{path}: {status}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let (status, _) = web.ask(&format!("{method} /index.html"));
        assert!(status.contains(" 501 ") || status.contains(" 40"), "{method}: {status}");
    }
    assert_eq!(fs::read_to_string(&web.page).unwrap(), "<p>頁</p>");
}

/// A page that nobody renews is taken away at the end of the run that should have renewed it.
#[test]
fn an_old_page_is_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("index.html");
    let words = command("toolmaster-page.service", "ExecStopPost=", &[("/run/toolmaster-page", dir.path())]);
    let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    for (age, stays) in [("now", true), ("4 minutes ago", true), ("7 minutes ago", false)] {
        tool("touch", &["-d", age, page.to_str().unwrap()]);
        tool(&words[0], &arguments);
        assert_eq!(page.exists(), stays, "{age}");
    }
    tool(&words[0], &arguments);
}
