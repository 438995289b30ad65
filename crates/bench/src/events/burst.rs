//! Many events at once: how fast they are taken, what the members keep in memory, and what a subscriber is told that reads
//! nothing meanwhile.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tenantry_proto::v1;
use tenantry_proto::v1::notification_service_client::NotificationServiceClient;
use tenantry_proto::v1::notification_service_watch_response::Part;

use super::Bench;
use super::reporter::Reporter;
use super::subscriber::watch;
use crate::load::connect_one;
use crate::machine::resident_bytes;
use crate::report::progress;
use crate::subject::{Group, MEMBERS};

/// Events in one report: the most that are taken.
const BATCH: u64 = 1_000;

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let burst = bench.plan.burst;
    let mut group = Group::start(&bench.control_plane, &bench.folder).await?;
    let leader = group.leader_endpoint().await?;
    let mut reporter = Reporter::start(leader).await?;
    // So that the first event's costs are not counted as the burst's.
    reporter.report(BATCH).await?;
    let mut idle = watch(leader).await?;
    let before = resident(&mut group)?;
    progress(format_args!("{burst} events"));
    let start = Instant::now();
    let mut left = burst;
    while left > 0 {
        let count = left.min(BATCH);
        reporter.report(count).await?;
        left -= count;
    }
    let took = start.elapsed();
    let after = resident(&mut group)?;
    let (mut received, mut missed) = (0_u64, 0_u64);
    let mut next = None;
    let last = last_sequence(leader).await?;
    while next.is_none_or(|next| next <= last) {
        match idle.message().await?.context("the watch ended")?.part {
            Some(Part::Event(event)) => {
                received += 1;
                next = Some(event.sequence + 1);
            }
            Some(Part::Gap(gap)) => {
                let expected = next.unwrap_or(gap.oldest_sequence);
                missed += gap.oldest_sequence.saturating_sub(expected);
                next = Some(gap.oldest_sequence);
            }
            Some(Part::Bookmark(_)) | None => {}
        }
    }
    bench.report.heading(&format!("A burst of {burst} events"));
    #[expect(clippy::cast_precision_loss, reason = "a figure to show")]
    let rate = burst as f64 / took.as_secs_f64();
    bench.report.say(format_args!(
        "taken in {:.2} s: {rate:.0}/s, in batches of {BATCH}, each committed before the next",
        took.as_secs_f64()
    ));
    bench.report.say(format_args!(
        "a subscriber that read nothing meanwhile: {received} events, and told of {missed} that it missed\n"
    ));
    let rows = before.iter().zip(&after).enumerate().map(|(index, (before, after))| {
        vec![
            (index + 1).to_string(),
            mebibytes(*before),
            mebibytes(*after),
            mebibytes(after.saturating_sub(*before)),
        ]
    });
    bench
        .report
        .table(&["member", "MiB before", "MiB after", "MiB more"], rows.collect());
    Ok(())
}

fn resident(group: &mut Group) -> Result<Vec<u64>> {
    (0..MEMBERS)
        .map(|index| resident_bytes(group.member(index)?.pid()?))
        .collect()
}

/// The newest event's place in the log.
async fn last_sequence(leader: std::net::SocketAddr) -> Result<u64> {
    let mut client = NotificationServiceClient::new(connect_one(leader).await?);
    let request = v1::ListEventsRequest {
        page_size: 1,
        newest_first: true,
        ..v1::ListEventsRequest::default()
    };
    let newest = client.list_events(request).await?.into_inner().events;
    Ok(newest.first().context("the log is empty")?.sequence)
}

#[expect(clippy::cast_precision_loss, reason = "a figure to show")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
