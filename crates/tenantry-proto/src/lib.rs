//! The protocol: generated code, conversions between messages and domain types, and the descriptor set.
//!
//! Conversions name the field that was wrong. This crate must not know the state machine, storage or sockets.
#![forbid(unsafe_code)]

pub mod convert;
pub mod event_json;
mod secret;

/// The public API.
pub mod v1 {
    #![allow(
        missing_docs,
        unused_qualifications,
        clippy::all,
        clippy::pedantic,
        reason = "generated; the proto files carry the comments"
    )]
    tonic::include_proto!("tenantry.v1");
}

/// Traffic between our own processes, and formats on disk. Not a public API.
pub mod internal {
    /// The first version.
    pub mod v1 {
        #![allow(
            missing_docs,
            unused_qualifications,
            clippy::all,
            clippy::pedantic,
            reason = "generated; the proto files carry the comments"
        )]
        tonic::include_proto!("tenantry.internal.v1");
    }
}

/// All files of `proto/`, encoded as a `google.protobuf.FileDescriptorSet`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
