//! What is looked at, in the order in which it is shown. Nothing here changes anything.

use std::time::Duration;

use serde_json::Value;

use super::super::{Env, mirror_config, recovery};
use super::runs::{Run, Runs};
use super::{Line, Verdict};
use crate::clock::{Clock, DAY, parse_rfc3339};
use crate::database::client::Client;
use crate::database::dump::shown;
use crate::database::own;
use crate::dataset::Dataset;
use crate::dataset::server::Server;
use crate::dataset::undo;
use crate::error::{Error, Result};
use crate::mirror::record::Records;
use crate::mirror::timer;
use crate::os::dir::Dir;
use crate::os::eeprom;
use crate::os::jobs::Room;
use crate::os::systemd;
use crate::settings::Thresholds;
use crate::snapshot::{generation, part};
use crate::text::Bytes;

const HOUR: i64 = 3600;
const TIMERS: [&str; 4] =
    ["tool-snapshot.timer", "tool-restore-drill.timer", "toolmaster-page.timer", "toolmaster-wear.timer"];
/// A database that is up answers at once.
const ANSWER: Duration = Duration::from_secs(20);

/// What is found of one thing: a verdict, how it is, and what to do.
type Found = (Verdict, String, String);

fn good(text: impl Into<String>) -> Found {
    (Verdict::Good, text.into(), String::new())
}

fn bad(text: impl Into<String>, next: impl Into<String>) -> Found {
    (Verdict::Bad, text.into(), next.into())
}

fn off(text: impl Into<String>) -> Found {
    (Verdict::Off, text.into(), String::new())
}

/// What the checks share.
struct Facts<'a> {
    env: &'a Env,
    server: std::result::Result<Server, Found>,
    runs: &'a Runs,
    now: i64,
    clock: Clock,
    most: &'a Thresholds,
}

type Check = fn(&Facts<'_>) -> Result<Found>;

const CHECKS: [(&str, &str, Check); 14] = [
    ("data", "サーバのデータ", |facts| facts.on_server(|server| data(facts, server))),
    ("ingest", "取り込み", ingest),
    ("lost_edits", "採られなかった編集", |facts| facts.on_server(lost_edits)),
    ("snapshot", "スナップショット", |facts| facts.on_server(|server| snapshot(facts, server))),
    ("backup", "バックアップ", backup),
    ("restore_drill", "戻す試験", restore_drill),
    ("mirror", "ミラー比較", mirror),
    ("disk", "ディスクの空き", disk),
    ("wear", "SSD の消耗", |facts| Ok(wear(facts))),
    ("database", "データベース", |facts| facts.on_server(|server| database(facts, server))),
    ("timers", "タイマー", timers),
    ("units", "失敗した作業", failed_units),
    ("clock", "時計", |facts| facts.on_server(|server| clock(facts, server))),
    ("boot", "起動の順番", |_| Ok(boot(eeprom::Boot::look().as_ref()))),
];

/// All lines. What can't be looked at is a line too: nobody may take silence for health.
pub fn all(env: &Env, runs: &Runs) -> Vec<Line> {
    let facts = Facts {
        env,
        server: Server::open(&env.settings, true).map_err(|error| unknown(&error)),
        runs,
        now: env.clock.now(),
        clock: env.clock,
        most: &env.settings.thresholds,
    };
    CHECKS
        .iter()
        .map(|(key, name, check)| {
            let (verdict, text, next) = check(&facts).unwrap_or_else(|error| unknown(&error));
            Line { key, name, verdict, text, next }
        })
        .collect()
}

fn unknown(error: &Error) -> Found {
    let said = error.to_string();
    let (why, next) = said.split_once(" -> ").unwrap_or((&said, "sudo toolmaster status で確認する"));
    bad(why, next)
}

impl Facts<'_> {
    /// What is found in the server's directories; where they can't be opened, that is.
    fn on_server(&self, look: impl FnOnce(&Server) -> Result<Found>) -> Result<Found> {
        self.server.as_ref().map_or_else(|found| Ok(found.clone()), look)
    }

    /// `2026-01-31T02:30:00+09:00(3 時間前)`.
    fn when(&self, time: i64) -> String {
        format!("{}({})", self.clock.log_time(time), age(self.now - time))
    }

    fn ended(&self, run: &Run) -> String {
        run.ended().map_or_else(|| run.time.clone(), |time| self.when(time))
    }
}

/// How long ago, for people.
fn age(seconds: i64) -> String {
    match seconds {
        ..0 => "時計より先の時刻".to_owned(),
        0..3600 => format!("{} 分前", seconds / 60),
        3600..172_800 => format!("{} 時間前", seconds / HOUR),
        _ => format!("{} 日前", seconds / DAY),
    }
}

fn data(facts: &Facts<'_>, server: &Server) -> Result<Found> {
    if let Some(record) = recovery::half_done(server)? {
        let next = "その TM-BACKUP を挿すか、sudo toolmaster recover";
        return Ok(match record.has_files_in_place() {
            true => bad(
                "サーバー交換が途中です。データベースか設定が、まだ戻っていません",
                format!("原因(journalctl -t tool-recover)を直し、{next}"),
            ),
            false => bad("サーバー交換が途中です", next),
        });
    }
    let mut empty = Vec::new();
    for dataset in Dataset::ALL {
        let filled = match server.dataset(dataset)? {
            Some(dir) => part::has_files(&dir)?,
            None => false,
        };
        if !filled {
            empty.push(dataset.name());
        }
    }
    Ok(match empty[..] {
        [] => good("master と docviewer があります"),
        _ if facts.runs.last_done("ingest").is_none() => off("まだ取り込みがありません"),
        _ => bad(
            format!("{} が空です", empty.join(" と ")),
            "中身のある TM-INGEST を挿すか、スナップショットから戻す(sudo toolmaster restore)",
        ),
    })
}

fn ingest(facts: &Facts<'_>) -> Result<Found> {
    Ok(match (facts.runs.last("ingest"), facts.runs.last_done("ingest")) {
        (Some(last), done) if !last.is_done() => {
            let before = done.map(|run| format!("。最後に終わったのは {}", facts.ended(run))).unwrap_or_default();
            failed(facts, last, &before)
        }
        (Some(last), _) => good(format!("{} {}", facts.ended(last), last.label.as_deref().unwrap_or_default())),
        (None, _) => off("まだありません"),
    })
}

/// A run that did not do its work, with its own words for what to do.
fn failed(facts: &Facts<'_>, run: &Run, more: &str) -> Found {
    let said = run.error.as_deref().unwrap_or_default();
    let (why, next) = said.split_once(" -> ").unwrap_or((said, "ログを確認して、もう一度"));
    bad(
        format!("{} は終わっていません({}): {why}{more}", facts.ended(run), run.word()),
        format!("{next}(RUNBOOK 5 章の表に、この行の意味があります)"),
    )
}

fn lost_edits(server: &Server) -> Result<Found> {
    let mut unseen = 0;
    if let Some(undo) = server.undo_if_there()? {
        for dataset in Dataset::ALL {
            let places = undo::list(&undo, dataset)?;
            unseen += places.iter().filter(|place| place.part.lost && !place.part.acknowledged).count();
        }
    }
    Ok(match unseen {
        0 => good("ありません"),
        count => bad(
            format!("{count} 回分あります"),
            "sudo toolmaster undo で見て、要るものを写したら sudo toolmaster undo acknowledge all",
        ),
    })
}

fn snapshot(facts: &Facts<'_>, server: &Server) -> Result<Found> {
    let next = "sudo tool-snapshot.sh。続くなら journalctl -u tool-snapshot.service -n 20";
    let Some(root) = Dir::open_if_there(&facts.env.settings.snapshot_root)? else {
        return Ok(bad("1 つもありません", next));
    };
    let Some(newest) = generation::list(&root)?.pop() else { return Ok(bad("1 つもありません", next)) };
    let taken = newest.taken(facts.clock).unwrap_or(0);
    if taken > facts.now {
        return Ok(bad(format!("{} のもので、時計より先です", facts.clock.log_time(taken)), next));
    }
    let hours = i64::from(facts.most.snapshot_hours);
    if facts.now - taken > hours * HOUR {
        return Ok(bad(format!("{} が最後で、{hours} 時間より古い", facts.when(taken)), next));
    }
    let emptied = generation::emptied(&root, |part| server.accepted_empty(part.name()))?;
    if let Some((_, last)) = emptied.first() {
        let parts: Vec<&str> = emptied.iter().map(|(part, _)| part.shown()).collect();
        return Ok(bad(
            format!("{} が空になりました(入っている最後は {})", parts.join("、"), last.name),
            "sudo toolmaster restore で戻す。わざと空にしたのなら sudo toolmaster snapshot --accept",
        ));
    }
    Ok(match facts.runs.last("snapshot") {
        Some(last) if !last.is_done() && last.ended().is_some_and(|ended| ended > taken) => {
            failed(facts, last, &format!("。最後にできたのは {}", facts.when(taken)))
        }
        _ => good(facts.when(taken)),
    })
}

fn backup(facts: &Facts<'_>) -> Result<Found> {
    let days = i64::from(facts.most.backup_days);
    let next = "TM-BACKUP を挿す";
    let Some(done) = facts.runs.last_done("backup") else { return Ok(bad("まだ 1 つもありません", next)) };
    let time = done.ended().unwrap_or(0);
    if facts.now - time > days * DAY {
        return Ok(bad(format!("{} が最後で、{days} 日より古い", facts.when(time)), next));
    }
    // What counts is the age of what is on the stick.
    let taken = done.datasets.get("archive").and_then(|archive| archive.get("taken")).and_then(Value::as_str);
    if let Some(taken) = taken.and_then(parse_rfc3339).filter(|taken| facts.now - taken > days * DAY) {
        let text = format!("書いたのは {} のスナップショットで、{days} 日より古い", facts.when(taken));
        return Ok(bad(text, "sudo tool-snapshot.sh の後で、TM-BACKUP を挿す"));
    }
    Ok(match facts.runs.last("backup") {
        Some(last) if !last.is_done() => failed(facts, last, &format!("。最後にできたのは {}", facts.when(time))),
        // It is read back from the medium before it counts.
        _ => good(format!("{}、読み直して確認済み", facts.when(time))),
    })
}

fn restore_drill(facts: &Facts<'_>) -> Result<Found> {
    let days = i64::from(facts.most.drill_days);
    let next = "sudo toolmaster restore-drill";
    Ok(match facts.runs.last("restore-drill") {
        None => off("まだありません(日曜 04:00)"),
        Some(last) if !last.is_done() => failed(facts, last, ""),
        Some(last) if facts.now - last.ended().unwrap_or(0) > days * DAY => {
            bad(format!("{} が最後で、{days} 日より古い", facts.ended(last)), next)
        }
        Some(last) => good(facts.ended(last)),
    })
}

/// The counter as `5 / 14`: so many nights without a difference, of those after which the old server can go.
fn mirror(facts: &Facts<'_>) -> Result<Found> {
    let path = &facts.env.settings.mirror_config;
    if !path.exists() {
        return Ok(off("使っていません"));
    }
    let config = mirror_config::read(path)?;
    let enabled = timer::look([&config.timer]).is_some_and(|[timer]| timer.is_enabled());
    if !enabled {
        return Ok(off("使っていません"));
    }
    let streak = Records::new(&config, &facts.env.settings.log_dir).streak();
    let counter = format!("OK {streak} / {}", facts.most.mirror_nights);
    Ok(match facts.runs.last("mirror-compare") {
        Some(last) if !last.is_done() => failed(facts, last, &format!("。{counter}")),
        Some(last) if facts.now - last.ended().unwrap_or(0) > 26 * HOUR => {
            bad(format!("{} が最後です。{counter}", facts.ended(last)), "mirrorctl status で確認する")
        }
        Some(last) => good(format!("{counter}、{}", facts.ended(last))),
        None => off(format!("{counter}、まだ比べていません")),
    })
}

fn disk(facts: &Facts<'_>) -> Result<Found> {
    let Room { free, total } = facts.env.room()?;
    let percent = free.saturating_mul(100) / total.max(1);
    let text = format!("{} / {}({percent} %)", Bytes(free), Bytes(total));
    Ok(if percent < u64::from(facts.most.free_percent) {
        bad(
            format!("{text}、{} % より少ない", facts.most.free_percent),
            "要らないファイルを消すか、大きい SSD に替える",
        )
    } else {
        good(text)
    })
}

/// What the disk itself said when it was last asked, once a day.
fn wear(facts: &Facts<'_>) -> Found {
    let Some(last) = facts.runs.last("wear") else {
        return off("まだ調べていません(smartmontools が要ります)");
    };
    if !last.is_done() {
        return failed(facts, last, "");
    }
    let told = |key| last.datasets.get("disk").and_then(|disk| disk.get(key));
    let when = facts.ended(last);
    let Some(passed) = told("passed").and_then(Value::as_bool) else {
        return off(format!("この SSD からは分かりません({when})"));
    };
    let worn = told("worn_percent").and_then(Value::as_u64);
    let text = worn.map_or_else(|| "消耗の割合は分かりません".to_owned(), |worn| format!("寿命の {worn} % を使用"));
    let most = u64::from(facts.most.wear_percent);
    match worn {
        _ if !passed => {
            bad(format!("SSD が故障を予告しています。{text}、{when}"), "すぐに TM-BACKUP を挿し、SSD を替える")
        }
        Some(worn) if worn >= most => {
            bad(format!("{text}、{most} % 以上、{when}"), "TM-BACKUP を挿し、替えの SSD を用意する")
        }
        _ => good(format!("{text}、故障の予告なし、{when}")),
    }
}

fn database(facts: &Facts<'_>, server: &Server) -> Result<Found> {
    let uri = own::database(&facts.env.settings, None)?;
    let client = Client::psql(&uri)?;
    let left_out = server.left_out()?;
    Ok(match client.ask_within("SELECT 1", ANSWER) {
        Ok(_) if !left_out.is_empty() => bad(
            format!("サーバー交換で、データベースの次のものは戻っていません: {}", shown(&left_out)),
            "手で作り直し(RUNBOOK 2.6)、sudo toolmaster recover --accept",
        ),
        Ok(_) => good(format!("{uri} が答えます")),
        Err(error) => {
            let (_, why, _) = unknown(&error);
            bad(why, "sudo systemctl restart raspi-server.service。続くなら sudo docker logs postgres --tail 50")
        }
    })
}

fn timers(_: &Facts<'_>) -> Result<Found> {
    let Some(units) = timer::look(TIMERS) else { return Ok(off("systemd がありません")) };
    let idle: Vec<&str> =
        TIMERS.iter().zip(&units).filter(|(_, unit)| !unit.is_active()).map(|(name, _)| *name).collect();
    Ok(if idle.is_empty() {
        good("動いています")
    } else {
        let names = idle.join(" ");
        bad(
            format!("{names} が止まっています"),
            format!("sudo systemctl unmask {names}、sudo systemctl enable --now {names}"),
        )
    })
}

fn failed_units(_: &Facts<'_>) -> Result<Found> {
    let Some(failed) = systemd::failed_units() else { return Ok(off("systemd がありません")) };
    Ok(match failed.first() {
        None => good("ありません"),
        Some(first) => bad(failed.join(" "), format!("systemctl status {first}")),
    })
}

fn clock(facts: &Facts<'_>, server: &Server) -> Result<Found> {
    let belief = server.belief(facts.clock)?;
    let now = facts.clock.log_time(facts.now);
    Ok(if belief.believed {
        good(now)
    } else {
        bad(
            format!("{now} は信じられません(記録は {} まで)", facts.clock.log_time(belief.newest)),
            "sudo timedatectl set-time で合わせて、sudo toolmaster clock confirm",
        )
    })
}

/// Only a Pi's boot loader has an order, and only root may read it.
fn boot(boot: Option<&eeprom::Boot>) -> Found {
    let Some(boot) = boot else { return off("ここでは分かりません") };
    match boot.complaint() {
        None => good(boot.shown()),
        Some(said) => {
            let (why, next) = said.split_once(" -> ").unwrap_or((&said, ""));
            bad(why, next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (seconds, text) in [
            (-1, "時計より先の時刻"),
            (0, "0 分前"),
            (3599, "59 分前"),
            (3600, "1 時間前"),
            (172_799, "47 時間前"),
            (172_800, "2 日前"),
            (40 * DAY, "40 日前"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn boot_orders() {
        let pi = |order| eeprom::Boot::of(order, "/dev/sda".into(), true);
        assert_eq!(boot(None).0, Verdict::Off);
        assert_eq!(boot(pi(0xf14).as_ref()), good("BOOT_ORDER=0xf14, /dev/sda"));
        let (verdict, text, next) = boot(pi(0xf1).as_ref());
        assert!(verdict == Verdict::Bad && text.ends_with("it may not start again"), "{text}");
        assert_eq!(next, "sudo rpi-eeprom-config --edit, and set BOOT_ORDER=0xf164");
    }
}
