use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::*;

const PATIENT: Patience = Patience {
    stall: Duration::from_secs(60),
    total: Duration::from_secs(60),
};

type Way = (ChunkSender, ChunkEnd, ChunkReader);

fn way(patience: Patience) -> Way {
    counted(patience).1
}

/// A way, and how many bytes are queued in it.
fn counted(patience: Patience) -> (Arc<AtomicUsize>, Way) {
    let queued = Arc::<AtomicUsize>::default();
    let way = chunks(
        patience,
        Arc::clone(&queued),
        Cancellation::default(),
        Settlement::default(),
    );
    (queued, way)
}

fn piece(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

#[tokio::test]
async fn however_much_is_sent_little_is_queued() {
    let (queued, (mut sender, end, mut reader)) = counted(PATIENT);
    let sending = std::thread::spawn(move || {
        for _ in 0..500 {
            sender.send(piece(CHUNK_BYTES)).unwrap();
        }
        drop(end.complete(b"end".to_vec()));
    });
    let mut received = 0;
    while let Some(frame) = reader.frame().await {
        received += frame.unwrap().into_data().unwrap().len();
        assert!(queued.load(Relaxed) <= QUEUED_BYTES + 3);
    }
    assert_eq!(received, 500 * CHUNK_BYTES + 3);
    assert_eq!(queued.load(Relaxed), 0);
    sending.join().unwrap();
}

#[tokio::test]
async fn a_piece_larger_than_the_queue_waits_alone_and_arrives() {
    let (mut sender, end, mut reader) = way(PATIENT);
    let sending = std::thread::spawn(move || {
        sender.send(piece(1)).unwrap();
        sender.send(piece(10 * QUEUED_BYTES)).unwrap();
        drop(end.complete(Vec::new()));
    });
    assert_eq!(reader.frame().await.unwrap().unwrap().into_data().unwrap().len(), 1);
    assert_eq!(reader.collect().await.unwrap().to_bytes().len(), 10 * QUEUED_BYTES);
    sending.join().unwrap();
}

#[test]
fn a_client_that_takes_nothing_is_given_up_and_reads_an_error() {
    let hasty = Patience {
        stall: Duration::from_millis(5),
        ..PATIENT
    };
    let (mut sender, end, mut reader) = way(hasty);
    let broken = (0..=QUEUED_BYTES / CHUNK_BYTES).find_map(|_| sender.send(piece(CHUNK_BYTES)).err());
    assert_eq!(broken, Some(Broken::Stalled));
    end.break_off(Broken::Stalled.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async {
        loop {
            if let Err(error) = reader.frame().await.unwrap() {
                break error;
            }
        }
    });
    assert!(error.to_string().contains("did not read"), "{error}");
}

#[test]
fn a_client_that_reads_drop_by_drop_is_given_up_in_the_end() {
    let hurried = Patience {
        stall: Duration::from_secs(60),
        total: Duration::ZERO,
    };
    let (mut sender, _end, _reader) = way(hurried);
    let broken = (0..=QUEUED_BYTES / CHUNK_BYTES).find_map(|_| sender.send(piece(CHUNK_BYTES)).err());
    assert_eq!(broken, Some(Broken::Stalled));
}

#[test]
fn a_client_that_leaves_ends_the_wait_and_cancels_the_statement() {
    let cancellation = Cancellation::default();
    let queued = Arc::<AtomicUsize>::default();
    let (mut sender, _end, reader) = chunks(
        PATIENT,
        Arc::clone(&queued),
        cancellation.clone(),
        Settlement::default(),
    );
    let sending = std::thread::spawn(move || {
        (0..=QUEUED_BYTES / CHUNK_BYTES).find_map(|_| sender.send(piece(CHUNK_BYTES)).err())
    });
    drop(reader);
    assert_eq!(sending.join().unwrap(), Some(Broken::ReaderLeft));
    assert!(cancellation.is_cancelled());
    assert_eq!(queued.load(Relaxed), 0, "nothing waits for a client that has left");
}

#[tokio::test]
async fn an_answer_that_nobody_ends_breaks_off() {
    let (mut sender, end, reader) = way(PATIENT);
    sender.send(piece(1)).unwrap();
    drop(end);
    assert!(reader.collect().await.is_err());
}

/// A chunk that tells whether anything keeps it.
struct Kept {
    bytes: Vec<u8>,
    _by: Arc<()>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_let_go_when_its_client_takes_nothing() {
    let (queued, (mut sender, end, mut reader)) = counted(PATIENT);
    let kept = Arc::new(());
    sender.send_first(Bytes::from_owner(Kept {
        bytes: vec![b'x'; 10 * QUEUED_BYTES],
        _by: Arc::clone(&kept),
    }));
    let untaken = end.complete(Vec::new()).unwrap();
    // The connection has it and cannot write it.
    let _first = reader.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(untaken.taken().await, Err(Broken::Stalled));
    assert_eq!((Arc::strong_count(&kept), queued.load(Relaxed)), (1, 0));
    let error = reader.frame().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("did not read"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_has_its_length_and_is_read_to_its_end() {
    let length = 10 * QUEUED_BYTES;
    let (reader, untaken) = whole(vec![b'x'; length], PATIENT, Arc::default());
    assert_eq!(reader.size_hint().exact(), Some(length as u64));
    let (read, taken) = tokio::join!(reader.collect(), untaken.unwrap().taken());
    assert_eq!((read.unwrap().to_bytes().len(), taken), (length, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_client_that_has_left_or_for_little() {
    let (reader, untaken) = whole(vec![b'x'; QUEUED_BYTES + 1], PATIENT, Arc::default());
    drop(reader);
    assert_eq!(untaken.unwrap().taken().await, Ok(()));
    assert!(whole(vec![b'x'; QUEUED_BYTES], PATIENT, Arc::default()).1.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_not_given_drop_by_drop_for_ever() {
    let slow = Patience {
        stall: Duration::from_secs(10),
        total: Duration::from_secs(25),
    };
    let (mut reader, untaken) = whole(vec![b'x'; 10 * QUEUED_BYTES], slow, Arc::default());
    let reading = async {
        while reader.frame().await.unwrap().is_ok() {
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
    };
    let ((), taken) = tokio::join!(reading, untaken.unwrap().taken());
    assert_eq!(taken, Err(Broken::Stalled));
}
