//! `toolmaster.json`: what an operator sets on a Windows PC before the first boot, and may change later. *Pure.* It is believed
//! whole or not at all; the first mistake is told with its line, in Japanese, since that is written back beside the file.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// No such file is longer, bytes.
pub const MAX: usize = 64 * 1024;

/// What may be set; what is not there stays as it is on the machine.
#[derive(Debug, Default, serde::Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The host's name.
    #[serde(default, deserialize_with = "hostname")]
    pub hostname: Option<String>,
    /// Somebody who may log in with a key.
    #[serde(default, deserialize_with = "given")]
    pub user: Option<User>,
    /// The address of the network card.
    #[serde(default, deserialize_with = "given")]
    pub network: Option<Network>,
    /// A name of the time zone database.
    #[serde(default, deserialize_with = "time_zone")]
    pub time_zone: Option<String>,
    /// Where the time comes from.
    #[serde(default, deserialize_with = "host")]
    pub ntp_server: Option<String>,
    /// The Pi Zero that is mirrored.
    #[serde(default, deserialize_with = "host")]
    pub pi_zero_host: Option<String>,
    /// Where it is to send to while the mirror is on.
    #[serde(default, deserialize_with = "endpoint")]
    pub mirror_endpoint: Option<String>,
    /// Where it sends to otherwise.
    #[serde(default, deserialize_with = "endpoint")]
    pub primary_endpoint: Option<String>,
    /// Days for which snapshots are kept.
    #[serde(default, deserialize_with = "days")]
    pub snapshot_retention_days: Option<u32>,
    /// Archives that a stick keeps, 0 for all.
    #[serde(default, deserialize_with = "archives")]
    pub backup_retention: Option<u32>,
}

/// A login.
#[derive(Debug, serde::Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// As useradd(8) takes it.
    #[serde(deserialize_with = "user_name")]
    pub name: String,
    /// A public key in one line, as sshd(8) reads `authorized_keys`.
    #[serde(deserialize_with = "key")]
    pub ssh_key: String,
}

/// An address; `gateway` and `dns` go with a fixed one.
#[derive(Debug, serde::Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// A fixed address with the length of its prefix; nothing for DHCP.
    #[serde(deserialize_with = "address")]
    pub address: Option<(IpAddr, u8)>,
    /// The way out.
    #[serde(default, deserialize_with = "ip")]
    pub gateway: Option<IpAddr>,
    /// Name servers.
    #[serde(default, deserialize_with = "ips")]
    pub dns: Vec<IpAddr>,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Counted from 1; 0 where no line is to blame.
    pub line: usize,
    /// What it is, in Japanese.
    pub why: String,
}

impl Site {
    /// Reads the file as an editor of Windows may have left it: with a byte order mark, with CRLF.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(bytes: &[u8]) -> Result<Site, Mistake> {
        let whole = |why: &str| Mistake { line: 0, why: why.to_owned() };
        if bytes.len() > MAX {
            return Err(whole("大きすぎます(64 KiB まで)"));
        }
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(whole("文字コードが UTF-16 です。メモ帳の「名前を付けて保存」で UTF-8 を選びます"));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| Mistake {
            line: 1 + bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count(),
            why: "UTF-8 でない文字があります。メモ帳の「名前を付けて保存」で UTF-8 を選びます".to_owned(),
        })?;
        if text.trim().is_empty() {
            return Err(whole("何も書かれていません"));
        }
        if !text.trim_start().starts_with('{') {
            return Err(whole("最初の文字が { ではありません"));
        }
        let site: Site = serde_json::from_str(text).map_err(|error| mistake(&error))?;
        if let Some(Network { address: None, gateway, dns }) = &site.network
            && (gateway.is_some() || !dns.is_empty())
        {
            return Err(whole("network: gateway と dns は、address が固定のときだけ書きます"));
        }
        Ok(site)
    }
}

/// Says it in Japanese, whether it is a mistake of JSON, of its shape, or one of ours.
fn mistake(error: &serde_json::Error) -> Mistake {
    let said = error.to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    let quoted = said.split('`').nth(1).unwrap_or_default();
    let why = match said {
        _ if error.is_eof() => "途中で終わっています。} や \" が足りません".to_owned(),
        said if said.starts_with("trailing comma") => "最後の項目の後に , があります".to_owned(),
        said if said.starts_with("trailing characters") => "最後の } の後に、まだ何か書かれています".to_owned(),
        said if said.starts_with("expected `,`") => "この行か前の行の終わりに , がありません".to_owned(),
        said if said.starts_with("expected `:`") => "項目の名前の後に : がありません".to_owned(),
        _ if error.is_syntax() => {
            "書き方が正しくありません。半角の \" で囲まれているか、, と : が半角かを見ます".to_owned()
        }
        said if said.starts_with("unknown field") => format!("{quoted} という項目はありません"),
        said if said.starts_with("missing field") => format!("{quoted} がありません"),
        said if said.starts_with("duplicate field") => format!("{quoted} が 2 回書かれています"),
        said if said.starts_with("invalid type") || said.starts_with("invalid value") => {
            "値の種類が違います。文字は \" で囲み、数は囲みません".to_owned()
        }
        ours => ours.to_owned(),
    };
    Mistake { line: error.line(), why }
}

/// A text that `parse` takes. What it refuses is refused while the text is read, so that the line is the text's own.
struct Text<P>(P, &'static str);

impl<'de, T, P: Fn(&str) -> Option<T>> Visitor<'de> for Text<P> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).ok_or_else(|| E::custom(self.1))
    }
}

/// A text of which `fits` holds.
fn text<'de, D: Deserializer<'de>>(value: D, fits: fn(&str) -> bool, why: &'static str) -> Result<String, D::Error> {
    value.deserialize_str(Text(|text: &str| fits(text).then(|| text.to_owned()), why))
}

/// So that `null` is a mistake, not an absence.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

fn hostname<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let why = "hostname は、英小文字・数字・- の 63 文字までです(- で始めたり終えたりできません)";
    text(value, is_label, why).map(Some)
}

/// RFC 1123, in small letters and not all digits, so that it is never taken for an address.
fn is_label(name: &str) -> bool {
    let digits = name.bytes().all(|c| c.is_ascii_digit());
    is_part(name) && !digits && !name.bytes().any(|c| c.is_ascii_uppercase())
}

/// A part of a host's name between two dots.
fn is_part(part: &str) -> bool {
    let plain = part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    plain && !part.starts_with('-') && !part.ends_with('-') && (1..=63).contains(&part.len())
}

fn host<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let why = "機械の名前か IP アドレスを書きます(例: pi-zero.local、192.168.1.20)";
    text(value, |host| host.parse::<IpAddr>().is_ok() || is_host(host), why).map(Some)
}

fn is_host(host: &str) -> bool {
    let digits = host.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    host.split('.').all(is_part) && !digits && host.len() <= 253
}

fn endpoint<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let fits = |url: &str| {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let plain = url.bytes().all(|c| c.is_ascii_graphic()) && url.len() <= 1024;
        plain && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    };
    text(value, fits, "http:// か https:// で始まる場所を書きます").map(Some)
}

fn time_zone<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let fits = |zone: &str| {
        let plain = zone.bytes().all(|c| c.is_ascii_alphanumeric() || b"/_+-".contains(&c));
        plain && zone.len() <= 64 && zone.split('/').all(|part| !part.is_empty())
    };
    text(value, fits, "time_zone は、Asia/Tokyo のように書きます").map(Some)
}

fn user_name<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let fits = |name: &str| {
        let plain = name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-".contains(&c));
        plain && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 32 && name != "root"
    };
    text(value, fits, "user の name は、英小文字で始まる英小文字・数字・_・- の 32 文字までです")
}

/// The kinds of keys that sshd(8) takes.
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

fn key<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let fits = |key: &str| {
        let mut words = key.split(' ');
        let kind = words.next().is_some_and(|kind| KINDS.contains(&kind));
        let plain = |body: &str| body.bytes().all(|c| c.is_ascii_alphanumeric() || b"+/=".contains(&c));
        let body = words.next().is_some_and(|body| body.len() > 40 && plain(body));
        kind && body && !key.chars().any(char::is_control) && key.len() <= 4096
    };
    text(value, fits, "ssh_key は、公開鍵の 1 行です(ssh-ed25519 AAAA… 。拡張子 .pub のファイルの中身)")
}

/// An address in a list or by itself.
struct Ip(IpAddr);

impl<'de> Deserialize<'de> for Ip {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Ip, D::Error> {
        let why = "IP アドレスを書きます(例: 192.168.1.1)";
        value.deserialize_str(Text(|text: &str| text.parse().ok().map(Ip), why))
    }
}

fn ip<'de, D: Deserializer<'de>>(value: D) -> Result<Option<IpAddr>, D::Error> {
    Ip::deserialize(value).map(|Ip(ip)| Some(ip))
}

fn ips<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<IpAddr>, D::Error> {
    Vec::<Ip>::deserialize(value).map(|ips| ips.into_iter().map(|Ip(ip)| ip).collect())
}

fn address<'de, D: Deserializer<'de>>(value: D) -> Result<Option<(IpAddr, u8)>, D::Error> {
    let parse = |text: &str| {
        if text == "dhcp" {
            return Some(None);
        }
        let (ip, bits) = text.split_once('/')?;
        let (ip, bits) = (ip.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
        let most = if ip.is_ipv4() { 32 } else { 128 };
        ((1..=most).contains(&bits) && !ip.is_unspecified()).then_some(Some((ip, bits)))
    };
    value.deserialize_str(Text(parse, "address は、\"dhcp\" か、192.168.1.10/24 のように書きます"))
}

/// A number within these bounds.
struct Number(RangeInclusive<u32>);

impl Visitor<'_> for Number {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<u32>, E> {
        let within = u32::try_from(number).ok().filter(|number| self.0.contains(number));
        let why = || E::custom(format!("{} から {} までの数を書きます", self.0.start(), self.0.end()));
        within.map(Some).ok_or_else(why)
    }
}

fn days<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u32>, D::Error> {
    value.deserialize_u32(Number(1..=36_500))
}

fn archives<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u32>, D::Error> {
    value.deserialize_u32(Number(0..=10_000))
}
