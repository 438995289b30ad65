//! What nodes may report, and what the leader makes of it.

use std::time::Duration;

use tenantry_state::strategies::tenant_of;
use tenantry_types::{
    Cleared, ConditionFigures, EndReason, Epoch, HotspotScore, ReportSequence, ScoreTerms, TenantName, Tier,
    TierPolicy, TokenGeneration, UnixMillis,
};
use tonic::Code;

use super::*;
use crate::single_member::SingleMember;

const ACME: TenantUid = TenantUid::from_u128(1);
const OTHER: TenantUid = TenantUid::from_u128(2);
const NEVER: WatchTiming = WatchTiming {
    bookmark: Duration::from_secs(3_600),
    digest: Duration::from_secs(3_600),
    patience: Duration::from_secs(3_600),
};

/// `acme` and `other` on `n1`, and an empty `n2`.
async fn two_on_one_node() -> (SingleMember, Notification) {
    let member = SingleMember::start().await;
    member.register_as("n1").await;
    member.register_as("n2").await;
    let n1 = || NodeId::new("n1").unwrap();
    member
        .done(Command::PlaceTenant {
            uid: ACME,
            node: n1(),
            expected_epoch: Epoch::ZERO,
        })
        .await;
    member
        .done(Command::CreateTenant {
            uid: OTHER,
            name: TenantName::new("other").unwrap(),
            spec: tenant_of(Tier::Small, TierPolicy::Pinned).spec,
            node: Some(n1()),
        })
        .await;
    let service = Notification::new(Arc::clone(&member.control_plane), NEVER, CancellationToken::new());
    (member, service)
}

fn report(details: &[EventDetail], first: u64) -> v1::ReportRequest {
    let events = (first..).zip(details).map(|(sequence, detail)| {
        v1::ReportedEvent::from(&ReportedEvent {
            sequence: ReportSequence(sequence),
            occurred_at: UnixMillis(1),
            tenant: Some(ACME),
            epoch: None,
            detail: detail.clone(),
        })
    });
    v1::ReportRequest {
        node_id: "n1".to_owned(),
        incarnation: 1,
        events: events.collect(),
    }
}

fn hot() -> ConditionFigures {
    ConditionFigures::Hotspot {
        score: HotspotScore::clamped(0.9),
        terms: ScoreTerms::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_tenant_is_to_move_for_as_long_as_it_is_hot() {
    let (member, service) = two_on_one_node().await;
    let before = member.kinds().len();
    let raised = report(&[EventDetail::Raised(hot())], 1);
    let answer = service.record(raised.clone()).await.unwrap();
    assert_eq!(answer.acknowledged_sequence, 1);
    // The same batch again, as after an answer that was lost.
    assert_eq!(service.record(raised).await.unwrap().acknowledged_sequence, 1);
    assert_eq!(member.kinds()[before..], ["hotspot-raised", "move-proposed"]);
    let over = report(&[EventDetail::Cleared(Cleared::Subsided(hot()))], 2);
    assert_eq!(service.record(over).await.unwrap().acknowledged_sequence, 2);
    assert_eq!(member.kinds()[before + 2..], ["hotspot-cleared", "move-withdrawn"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_report_what_is_the_control_planes_to_say_and_nothing_of_its_batch_is_taken() {
    let (member, service) = two_on_one_node().await;
    let before = member.kinds();
    let generation = TokenGeneration(1);
    for foreign in [
        EventDetail::TokensRevoked { generation },
        EventDetail::Cleared(Cleared::Ended(Condition::Hotspot, EndReason::TenantMoved)),
    ] {
        let refused = service
            .record(report(&[EventDetail::Raised(hot()), foreign], 1))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("not a node's to report"), "{refused:?}");
    }
    assert_eq!(member.kinds(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_holds_between_one_and_a_thousand_events() {
    let (_member, service) = two_on_one_node().await;
    let many = vec![EventDetail::ConfigAccepted; MOST_EVENTS + 1];
    for details in [&many[..], &[]] {
        let refused = service.record(report(details, 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{}", details.len());
    }
    let full = service.record(report(&many[1..], 1)).await.unwrap();
    assert_eq!(full.acknowledged_sequence, 1_000);
}
