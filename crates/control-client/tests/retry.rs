//! Where calls go when members do not answer, and when they give up.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use control_client::{CallError, ClientOptions, ControlClient};
use support::{Member, Reply, client, dead, dying, options};
use tenantry_proto::v1::CreateTenantRequest;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

async fn create(client: &ControlClient) -> Result<(), CallError> {
    let request = CreateTenantRequest {
        tenant_id: "acme".into(),
        ..Default::default()
    };
    client.admin().create_tenant(request).await.map(drop)
}

fn busy(delay: Duration) -> Reply {
    let details = ErrorDetails::with_retry_info(Some(delay));
    Reply::Fail(Status::with_error_details(Code::ResourceExhausted, "busy", details))
}

#[tokio::test]
async fn a_call_follows_the_named_leader_and_the_next_one_starts_there() {
    let leader = Member::start([Reply::Answer]).await;
    let follower = Member::start([Reply::NotLeader(Some(leader.endpoint.clone()))]).await;
    let bystander = Member::start([Reply::NotLeader(None)]).await;
    let client = client(&[&follower.endpoint, &bystander.endpoint, &leader.endpoint], options());
    create(&client).await.unwrap();
    create(&client).await.unwrap();
    assert_eq!((follower.asked(), bystander.asked(), leader.asked()), (1, 0, 2));
}

#[tokio::test]
async fn a_leader_outside_of_the_list_is_followed() {
    let leader = Member::start([Reply::Answer]).await;
    let follower = Member::start([Reply::NotLeader(Some(leader.endpoint.clone()))]).await;
    create(&client(&[&follower.endpoint], options())).await.unwrap();
    assert_eq!(leader.asked(), 1);
}

#[tokio::test]
async fn dead_dying_and_hanging_members_are_passed_over() {
    let hanging = Member::start([Reply::Hang]).await;
    let healthy = Member::start([Reply::Answer]).await;
    let options = ClientOptions {
        attempt_timeout: Duration::from_millis(300),
        ..options()
    };
    for broken in [dead().await, dying().await, hanging.endpoint.clone()] {
        create(&client(&[&broken, &healthy.endpoint], options)).await.unwrap();
    }
    // At least: a slow machine may need a second attempt.
    assert!(hanging.asked() >= 1);
    assert!(healthy.asked() >= 3);
}

#[tokio::test]
async fn all_attempts_of_a_mutation_carry_one_request_id_and_a_deadline() {
    let healthy = Member::start([Reply::Answer]).await;
    let starting = Member::start([Reply::NotLeader(None), Reply::NotLeader(None), Reply::Answer]).await;
    create(&client(&[&starting.endpoint], options())).await.unwrap();
    create(&client(&[&healthy.endpoint], options())).await.unwrap();
    let ids: Vec<String> = starting
        .created
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.request_id.clone())
        .collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0].len(), 36);
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_ne!(healthy.created.lock().unwrap()[0].request_id, ids[0]);
    assert_eq!(*starting.deadlines.lock().unwrap(), [true; 3]);
}

#[tokio::test]
async fn a_request_id_of_the_callers_choice_stays() {
    let member = Member::start([Reply::Answer]).await;
    let request = CreateTenantRequest {
        request_id: "mine".into(),
        ..Default::default()
    };
    let client = client(&[&member.endpoint], options());
    client.admin().create_tenant(request).await.unwrap();
    assert_eq!(member.created.lock().unwrap()[0].request_id, "mine");
}

#[tokio::test]
async fn without_a_leader_the_call_ends_at_its_deadline_and_says_what_it_tried() {
    let member = Member::start([Reply::NotLeader(None)]).await;
    let dead = dead().await;
    let client = client(&[&member.endpoint, &dead], options()).with_timeout(Duration::from_secs(2));
    let CallError::Unavailable { attempts, last, .. } = create(&client).await.unwrap_err() else {
        panic!("must be unavailable");
    };
    assert!(attempts >= 2, "{attempts}");
    assert_eq!(last.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_mutation_that_may_have_got_through_is_not_said_to_have_failed() {
    let unknown = || {
        let details =
            ErrorDetails::with_error_info("OUTCOME_UNKNOWN", "tenantry.dev", std::collections::HashMap::new());
        Reply::Fail(Status::with_error_details(Code::DeadlineExceeded, "?", details))
    };
    let hung = ClientOptions {
        attempt_timeout: Duration::from_millis(50),
        ..options()
    };
    let cases = [
        (vec![unknown(), Reply::NotLeader(None)], options()),
        (vec![Reply::Hang, Reply::NotLeader(None)], hung),
        (vec![unknown(), busy(Duration::from_secs(3_600))], options()),
    ];
    for (replies, options) in cases {
        let member = Member::start(replies).await;
        let client = client(&[&member.endpoint], options).with_timeout(Duration::from_secs(1));
        let error = create(&client).await.unwrap_err();
        let CallError::OutcomeUnknown { request_id, .. } = error else {
            panic!("must be unknown, not {error:?}");
        };
        let created = member.created.lock().unwrap();
        assert!(created.iter().all(|request| request.request_id == request_id));
    }
    // The same for a call that changes nothing is only a failure, and an answer to a later attempt settles it.
    let member = Member::start([unknown(), Reply::Answer]).await;
    create(&client(&[&member.endpoint], options())).await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    for code in [
        Code::InvalidArgument,
        Code::Aborted,
        Code::Internal,
        Code::DeadlineExceeded,
        Code::ResourceExhausted,
    ] {
        let member = Member::start([Reply::Fail(Status::new(code, "no"))]).await;
        let other = Member::start([Reply::Answer]).await;
        let error = create(&client(&[&member.endpoint, &other.endpoint], options()))
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Refused(refusal) if refusal.code == code));
        assert_eq!((member.asked(), other.asked()), (1, 0));
    }
}

#[tokio::test]
async fn a_busy_member_is_asked_again_after_the_time_that_it_names() {
    let member = Member::start([busy(Duration::from_millis(20)), Reply::Answer]).await;
    let other = Member::start([Reply::Answer]).await;
    create(&client(&[&member.endpoint, &other.endpoint], options()))
        .await
        .unwrap();
    assert_eq!((member.asked(), other.asked()), (2, 0));
}

#[tokio::test]
async fn a_delay_past_the_deadline_is_a_refusal_that_names_it() {
    let member = Member::start([busy(Duration::from_secs(3600))]).await;
    let error = create(&client(&[&member.endpoint], options())).await.unwrap_err();
    let CallError::Refused(refusal) = error else {
        panic!("must be refused");
    };
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(member.asked(), 1);
}

#[tokio::test]
async fn a_member_that_comes_back_is_reached_over_the_same_client() {
    let member = Member::start([Reply::NotLeader(None)]).await;
    let client = client(&[&member.endpoint], options());
    assert!(create(&client.with_timeout(Duration::from_millis(100))).await.is_err());
    member.set(Reply::Answer);
    create(&client).await.unwrap();
}
