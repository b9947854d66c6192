//! Every RPC of the contract, and of health and reflection, by its path.

use std::{collections::HashMap, sync::LazyLock};

use prost_reflect::{DescriptorPool, MethodDescriptor};

/// What the layers need to know about one RPC.
#[derive(Debug)]
pub(super) struct Method {
    /// The full name of its service, as in `ihuman.auth.v1.AuthService`.
    pub(super) service: String,
    /// Its own name, as in `Login`.
    pub(super) name: String,
    /// Its messages.
    pub(super) descriptor: MethodDescriptor,
}

impl Method {
    /// Whether either side may send more than one message.
    pub(super) fn is_streaming(&self) -> bool {
        self.descriptor.is_server_streaming() || self.descriptor.is_client_streaming()
    }
}

static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let mut pool = DescriptorPool::new();
    for descriptors in [
        ihuman_proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        pool.decode_file_descriptor_set(descriptors)
            .expect("the descriptors were compiled into this binary");
    }
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.map(entry).collect()
});

/// The RPC at a path such as `/ihuman.auth.v1.AuthService/Login`.
pub(super) fn find(path: &str) -> Option<&'static Method> {
    METHODS.get(path)
}

fn entry(descriptor: MethodDescriptor) -> (String, Method) {
    let service = descriptor.parent_service().full_name().to_owned();
    let name = descriptor.name().to_owned();
    (format!("/{service}/{name}"), Method { service, name, descriptor })
}
