//! Records, segment headers and the sums of WAL files as bytes.

use proptest::prelude::*;

use crate::lsn::Lsn;
use crate::record::{self, CommitRecord, Content, Place, Summed};
use crate::segment::{self, SegmentHeader};
use tenantry_types::TenantUid;

fn header(number: u64, nonce: u64) -> SegmentHeader {
    SegmentHeader {
        number,
        first: Lsn::new(5),
        oldest: 1,
        nonce,
    }
}

fn written(commit: &CommitRecord, of: SegmentHeader, lsn: u64, begins_batch: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let place = Place {
        segment: of.key(),
        lsn: Lsn::new(lsn),
        begins_batch,
    };
    let summed = Summed::new(commit).unwrap();
    summed.write(place, &mut bytes);
    assert_eq!(summed.length(), bytes.len());
    bytes
}

fn commits() -> impl Strategy<Value = CommitRecord> {
    (
        any::<u128>(),
        any::<[u8; 8]>(),
        any::<u64>(),
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(tenant, salts, offset, frames)| CommitRecord {
            tenant: TenantUid::from_u128(tenant),
            salts,
            offset,
            frames,
        })
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(commit in commits(), lsn: u64, begins: bool, number: u64, nonce: u64, behind: [u8; 9]) {
        let of = header(number, nonce);
        let mut bytes = written(&commit, of, lsn, begins);
        let length = bytes.len();
        bytes.extend_from_slice(&behind);
        let read = record::read(of.key(), &bytes).unwrap();
        prop_assert_eq!((read.lsn, read.begins_batch, read.length), (Lsn::new(lsn), begins, length));
        let Content::Commit { tenant, salts, offset, frames } = read.content else { panic!("no commit") };
        prop_assert_eq!(CommitRecord { tenant, salts, offset, frames: frames.to_vec() }, commit);
    }

    #[test]
    fn a_record_with_one_changed_byte_or_cut_off_is_none(commit in commits(), at: prop::sample::Index, change in 1..=255_u8) {
        let of = header(1, 2);
        let mut bytes = written(&commit, of, 5, false);
        let at = at.index(bytes.len());
        prop_assert_eq!(record::read(of.key(), &bytes[..at]), None);
        bytes[at] ^= change;
        prop_assert_eq!(record::read(of.key(), &bytes), None);
    }

    #[test]
    fn a_record_of_another_life_of_the_file_is_none(commit in commits(), number: u64, nonce: u64, other: u64) {
        let bytes = written(&commit, header(number, nonce), 5, false);
        prop_assume!(other != number && other != nonce);
        prop_assert_eq!(record::read(header(other, nonce).key(), &bytes), None);
        prop_assert_eq!(record::read(header(number, other).key(), &bytes), None);
    }

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(record::read(header(1, 2).key(), &bytes), None);
        prop_assert!(SegmentHeader::read(&bytes).is_err());
    }

    #[test]
    fn a_segment_header_is_read_as_it_was_written_and_refused_when_changed(
        number: u64, first: u64, oldest: u64, nonce: u64, at in 0..segment::LENGTH, change in 1..=255_u8,
    ) {
        let header = SegmentHeader { number, first: Lsn::new(first), oldest, nonce };
        let mut page = header.page();
        prop_assert_eq!(SegmentHeader::read(&page), Ok(header));
        page[at] ^= change;
        prop_assert!(SegmentHeader::read(&page).is_err());
    }
}

#[test]
fn a_segment_of_another_version_is_refused_by_its_version() {
    let mut page = header(1, 2).page();
    page[8] = 9;
    assert_eq!(
        SegmentHeader::read(&page),
        Err("its format has version 9, and this program knows 1".to_owned())
    );
}

#[test]
fn names_of_segments_sort_by_number_and_others_are_none() {
    assert_eq!(segment::name(7), "segment-00000000000000000007");
    assert_eq!(segment::number_of(&segment::name(u64::MAX)), Some(u64::MAX));
    for name in [
        "segment-7",
        "segment-0000000000000000000x",
        "spare-00000000000000000007",
        "lock",
    ] {
        assert_eq!(segment::number_of(name), None, "{name}");
    }
}
