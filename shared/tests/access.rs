//! The table of who may call what, for a reviewer to read.

use ihuman_shared::access::Rules;

#[test]
fn every_rpc_says_who_may_call_it() {
    let rules = Rules::of_packages(&["ihuman.auth.v1", "ihuman.catalog.v1"]).unwrap();

    insta::assert_snapshot!(rules.to_string());
}
