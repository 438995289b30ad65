//! What comes of what a receiver answers, or does not.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use webhook_delivery::{Failure, Message, Outcome, Secret, verify};

use crate::support::{
    BODY, BOUND, Receiver, attempt, attempt_with, byte_by_byte, client, failure, failure_in_time, for_ever, impatient,
    message, secret, until_closed,
};

#[tokio::test]
async fn a_message_arrives_with_its_headers_and_a_signature_that_holds() {
    let mut receiver = Receiver::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let outcome = attempt(&client(), &format!("http://{}/hook/1?a=b", receiver.address)).await;
    assert!(matches!(outcome, Outcome::Delivered { status: 204, .. }), "{outcome:?}");
    receiver.first_has_ended().await;
    let requests = receiver.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(body, BODY);
    let mut lines: Vec<_> = head.split("\r\n").map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "POST /hook/1?a=b HTTP/1.1");
    lines.sort();
    let expected = [
        "connection: close".to_owned(),
        format!("content-length: {}", BODY.len()),
        "content-type: application/json".to_owned(),
        format!("host: {}", receiver.address),
        format!("user-agent: tenantry-webhooks/{}", env!("CARGO_PKG_VERSION")),
        "webhook-id: msg_1".to_owned(),
        format!(
            "webhook-signature: {}",
            webhook_delivery::sign(&secret(), "msg_1", 1_614_265_330, BODY.as_bytes())
        ),
        "webhook-timestamp: 1614265330".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_message_under_rotation_carries_a_signature_by_each_secret() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let new = Secret::generate([7; 32]);
    let message = Message::new("msg_1", 5, BODY, vec![new.clone(), secret()]).unwrap();
    let outcome = attempt_with(&client(), &receiver.url(), &message).await;
    assert!(matches!(outcome, Outcome::Delivered { status: 200, .. }), "{outcome:?}");
    let request = receiver.requests().remove(0);
    let signatures = request
        .lines()
        .find_map(|line| line.strip_prefix("webhook-signature: "))
        .unwrap();
    for secret in [new, secret()] {
        assert!(verify(&secret, "msg_1", 5, BODY.as_bytes(), signatures), "{signatures}");
    }
}

#[tokio::test]
async fn a_body_that_is_large_arrives_whole() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let body = format!("{}{BODY}", " ".repeat(1 << 20));
    let message = Message::new("msg_1", 5, body.clone(), vec![secret()]).unwrap();
    let outcome = attempt_with(&client(), &receiver.url(), &message).await;
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
    assert!(receiver.requests()[0].ends_with(&body));
}

#[tokio::test]
async fn a_success_is_known_by_its_head_and_its_body_is_not_waited_for() {
    let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut receiver = Receiver::answering(endless).await;
    let outcome = attempt(&client(), &receiver.url()).await;
    assert!(matches!(outcome, Outcome::Delivered { status: 200, .. }), "{outcome:?}");
    receiver.first_has_ended().await;
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let reason = failure(&client(), &format!("http://{address}/")).await;
    assert!(
        matches!(reason, Failure::ConnectFailed { address: tried, .. } if tried == address),
        "{reason}"
    );
    assert!(!reason.is_lasting());
}

#[tokio::test]
async fn who_accepts_and_says_nothing_is_given_up() {
    let mut receiver = Receiver::start(until_closed).await;
    failure_in_time(&receiver.url(), |reason| matches!(reason, Failure::NoAnswer { .. })).await;
    receiver.first_has_ended().await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_given_up() {
    for (start, piece) in [
        ("HTTP/1.1 200 OK\r\nx-", "x"),
        ("HTTP/1.1 200 OK\r\n", "a: b\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
    ] {
        let mut receiver = Receiver::start(move |mut stream| async move {
            stream.write_all(start.as_bytes()).await.unwrap();
            byte_by_byte(stream, piece.as_bytes()).await;
        })
        .await;
        failure_in_time(&receiver.url(), |reason| matches!(reason, Failure::NoAnswer { .. })).await;
        receiver.first_has_ended().await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_to_its_end_does_not_hide_the_status() {
    for goes_on in [true, false] {
        let mut receiver = Receiver::start(move |mut stream| async move {
            let answer = b"HTTP/1.1 500 Broken\r\n\r\nout of order ";
            stream.write_all(answer).await.unwrap();
            if goes_on {
                byte_by_byte(stream, b".").await;
            } else {
                until_closed(stream).await;
            }
        })
        .await;
        failure_in_time(&receiver.url(), |reason| {
            matches!(reason, Failure::ServerFailed { status: 500, excerpt } if excerpt.starts_with("out of order"))
        })
        .await;
        receiver.first_has_ended().await;
    }
}

#[tokio::test]
async fn of_an_endless_body_the_beginning_is_read_and_the_connection_closed() {
    let mut receiver = Receiver::start(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.unwrap();
        for_ever(stream, &[b'x'; 1_024]).await;
    })
    .await;
    let reason = failure(&client(), &receiver.url()).await;
    let Failure::Refused { status: 404, excerpt } = reason else {
        panic!("{reason}");
    };
    assert_eq!(excerpt, "x".repeat(4_096));
    receiver.first_has_ended().await;
}

#[tokio::test]
async fn heads_without_end_are_given_up_whatever_they_consist_of() {
    for piece in [&b"x: y\r\n"[..], b"x"] {
        let mut receiver = Receiver::start(move |mut stream| async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
            for_ever(stream, &piece.repeat(100)).await;
        })
        .await;
        let reason = failure(&client(), &receiver.url()).await;
        assert!(matches!(reason, Failure::NotHttp { .. }), "{reason}");
        receiver.first_has_ended().await;
    }
    // This one has an end, far off.
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    let receiver = Receiver::answering(long).await;
    let reason = failure(&client(), &receiver.url()).await;
    assert!(matches!(reason, Failure::NotHttp { .. }), "{reason}");
    // These are whole, and a client has to pass over them.
    let mut receiver =
        Receiver::start(|stream| async move { for_ever(stream, b"HTTP/1.1 103 Early Hints\r\n\r\n").await }).await;
    failure_in_time(&receiver.url(), |reason| matches!(reason, Failure::NoAnswer { .. })).await;
    receiver.first_has_ended().await;
}

#[tokio::test]
async fn redirects_are_reported_and_nobody_else_is_asked() {
    let other = Receiver::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: {}?token=hush\r\n\r\n",
            other.url()
        );
        let mut receiver = Receiver::answering(answer).await;
        let reason = failure(&client(), &receiver.url()).await;
        let location = other.url();
        assert_eq!(reason, Failure::Redirected { status, location });
        assert!(reason.is_lasting());
        receiver.first_has_ended().await;
        assert_eq!(receiver.requests().len(), 1, "nor the same one again");
    }
    assert_eq!(other.requests(), [""; 0]);
}

#[tokio::test]
async fn gone_is_told_from_other_refusals() {
    let receiver = Receiver::answering("HTTP/1.1 410 Gone\r\ncontent-length: 10\r\n\r\n").await;
    assert_eq!(attempt(&client(), &receiver.url()).await, Outcome::Gone);
}

#[tokio::test]
async fn a_receiver_says_when_to_come_back_in_seconds_or_with_a_date() {
    for (status, text, expected) in [
        (429, "120", Some(120)),
        (429, "Fri, 31 Dec 9999 23:59:59 GMT", Some(3_600)),
        (429, "Thu, 01 Jan 1970 00:00:00 GMT", None),
        (429, "when it suits you", None),
        (503, "7", Some(7)),
    ] {
        let answer = format!("HTTP/1.1 {status} Later\r\nretry-after: {text}\r\ncontent-length: 4\r\n\r\nbusy");
        let receiver = Receiver::answering(answer).await;
        let excerpt = "busy".to_owned();
        let reason = match status {
            429 => Failure::TooManyRequests { excerpt },
            status => Failure::ServerFailed { status, excerpt },
        };
        let retry_after = expected.map(Duration::from_secs);
        assert_eq!(
            attempt(&client(), &receiver.url()).await,
            Outcome::Failed { reason, retry_after }
        );
    }
}

#[tokio::test]
async fn what_a_receiver_says_to_a_refusal_is_shown_without_the_secrets_of_the_url() {
    let answer = "HTTP/1.1 401 No\r\n\r\n<p>\x1b[2Jno /hook/SECRETSECRET here</p>\n";
    let receiver = Receiver::start(move |mut stream| async move {
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let reason = failure(&client(), &format!("{}/SECRETSECRET", receiver.url())).await;
    let excerpt = "<p> [2Jno /hook/… here</p>".to_owned();
    assert_eq!(reason, Failure::Refused { status: 401, excerpt });
    assert!(!format!("{reason:?} {reason}").contains("SECRET"));
}

#[tokio::test]
async fn who_closes_before_the_head_is_over_has_broken_off() {
    for said in ["", "HT", "HTTP/1.1 200 OK\r\ncontent-"] {
        let receiver = Receiver::start(move |mut stream| async move {
            stream.write_all(said.as_bytes()).await.unwrap();
        })
        .await;
        let reason = failure(&client(), &receiver.url()).await;
        assert!(matches!(reason, Failure::BrokenOff { .. }), "after {said:?}: {reason}");
        assert!(!reason.is_lasting());
    }
    let resetting = Receiver::start(|stream| async move { stream.set_zero_linger().unwrap() }).await;
    let reason = failure(&client(), &resetting.url()).await;
    assert!(matches!(reason, Failure::BrokenOff { .. }), "{reason}");
}

#[tokio::test]
async fn who_closes_in_the_body_has_answered() {
    for (answer, expected) in [
        (
            "HTTP/1.1 500 Broken\r\ncontent-length: 100\r\n\r\nonly this",
            "only this",
        ),
        (
            "HTTP/1.1 500 Broken\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\nzz\r\n",
            "only",
        ),
    ] {
        let receiver = Receiver::start(move |mut stream| async move {
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let excerpt = expected.to_owned();
        let expected = Failure::ServerFailed { status: 500, excerpt };
        assert_eq!(failure(&client(), &receiver.url()).await, expected);
    }
}

#[tokio::test]
async fn what_is_not_http_1_is_reported_as_that() {
    for said in [
        &b"SSH-2.0-OpenSSH_9.7\r\n"[..],
        b"220 mail.example ESMTP\r\n",
        b"<html>HTTP/0.9</html>\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        // The first frame of HTTP/2: SETTINGS.
        b"\0\0\0\x04\0\0\0\0\0",
        b"\0\0\0\0",
        b"\xff\xfe\xfd\xfc",
    ] {
        let receiver = Receiver::answering(said).await;
        let reason = failure(&client(), &receiver.url()).await;
        let shown = said.escape_ascii();
        assert!(matches!(reason, Failure::NotHttp { .. }), "{shown}: {reason:?}");
        assert!(reason.is_lasting());
    }
}

/// Does `at_once` with a connection, before any request can have arrived or just when it does.
async fn before_the_request<F: Future<Output = ()> + Send + 'static>(at_once: fn(TcpStream) -> F) -> Failure {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = tokio::spawn(async move { at_once(listener.accept().await.unwrap().0).await });
    let reason = failure(&client(), &format!("http://{address}/")).await;
    receiver.await.unwrap();
    reason
}

/// How often the two ends race for the first word.
const RACES: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_before_being_asked_does_not_speak_http_1() {
    for _ in 0..RACES {
        let reason = before_the_request(|mut stream| async move {
            stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
            until_closed(stream).await;
        })
        .await;
        assert!(matches!(reason, Failure::NotHttp { .. }), "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_before_being_asked_has_broken_off() {
    for _ in 0..RACES {
        let reason = before_the_request(|stream| async move { drop(stream) }).await;
        assert!(matches!(reason, Failure::BrokenOff { .. }), "{reason:?}");
    }
}

#[tokio::test]
async fn an_attempt_that_is_dropped_closes_its_connection() {
    let mut receiver = Receiver::start(until_closed).await;
    let (client, endpoint, message) = (client(), receiver.url().parse().unwrap(), message());
    tokio::select! {
        outcome = client.attempt(&endpoint, &message) => panic!("{outcome:?}"),
        () = async { while receiver.requests().is_empty() { tokio::task::yield_now().await } } => {}
    }
    receiver.first_has_ended().await;
}

#[tokio::test]
async fn what_is_left_of_a_message_is_not_sent_once_it_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // More than fits into the buffers of any two sockets.
    let body = vec![b' '; 64 << 20];
    let message = Message::new("msg_1", 5, body.clone(), vec![secret()]).unwrap();
    let outcome = attempt_with(&impatient(Duration::from_secs(1)), &url, &message).await;
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut taken = Vec::new();
    // Ends with the connection, in one way or the other.
    let _ = tokio::time::timeout(BOUND, stream.read_to_end(&mut taken))
        .await
        .expect("the connection stays open");
    assert!(taken.len() < body.len(), "{} bytes", taken.len());
}
