//! The access rules of every RPC, enforced.

use ihuman_shared::testing::violations_of_access;

use crate::support::Catalog;

#[tokio::test]
async fn every_rpc_lets_in_whom_its_rule_names_and_nobody_else() {
    let catalog = Catalog::start().await;

    let wrong =
        violations_of_access(&catalog.service, &catalog.credentials, "ihuman.catalog.v1").await;

    assert_eq!(wrong, Vec::<String>::new());
}
