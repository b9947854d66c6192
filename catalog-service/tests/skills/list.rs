//! Lists of skills: filters, orders and pages.

use std::collections::HashSet;

use ihuman_proto::catalog::v1::{
    ArchiveSkillRequest, Difficulty, ListSkillsRequest, Skill, SkillSort,
};
use ihuman_shared::testing::violations;
use serde_json::json;
use uuid::Uuid;

use super::{Catalog, Skills, a_skill, object, publish, skills, start};

/// Every page of a list, with `between` done after each.
async fn pages(
    client: &mut Skills,
    request: ListSkillsRequest,
    mut between: impl AsyncFnMut(),
) -> Vec<Skill> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListSkillsRequest { page_token, ..request.clone() };
        let page = client.list_skills(request).await.unwrap().into_inner();
        all.extend(page.skills);
        if page.next_page_token.is_empty() {
            return all;
        }
        page_token = page.next_page_token;
        between().await;
    }
}

async fn names(client: &mut Skills, request: ListSkillsRequest) -> Vec<String> {
    let all = pages(client, request, async || {}).await;
    all.into_iter().map(|it| it.name).collect()
}

/// Skills a-00 to a-24, each with figures of its own: some equal, some not.
async fn publish_many(catalog: &Catalog, client: &mut Skills) -> Vec<Skill> {
    let mut all = Vec::new();
    for number in 0..25_i64 {
        // Not in the order of any list.
        let name = format!("a-{:02}", number * 7 % 25);
        let skill = publish(client, a_skill(&name)).await.unwrap();
        sqlx::query(
            "update catalog.skill_stats set execution_count = $2, rating_sum = $3, rating_count = $4
             where skill_id = $1::uuid",
        )
        .bind(Uuid::parse_str(&skill.id).unwrap())
        .bind(1 + number % 5)
        .bind(3 + number % 3)
        .bind(3_i64)
        .execute(&catalog.database.superuser)
        .await
        .unwrap();
        all.push(skill);
    }
    all
}

#[tokio::test]
async fn pages_in_each_order_survive_new_skills() {
    let (catalog, _, mut client) = start().await;
    let before = publish_many(&catalog, &mut client).await;
    let mut inserted = 0;

    for sort in [SkillSort::Newest, SkillSort::Name, SkillSort::Popularity, SkillSort::Rating] {
        let request =
            ListSkillsRequest { page_size: 4, sort: sort.into(), ..ListSkillsRequest::default() };
        let mut author = client.clone();
        let all = pages(&mut client, request, async || {
            for prefix in ["a-0", "z"] {
                inserted += 1;
                publish(&mut author, a_skill(&format!("{prefix}-{inserted}"))).await.unwrap();
            }
        })
        .await;

        let ids: HashSet<&str> = all.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(ids.len(), all.len(), "{sort:?} has a skill twice");
        assert!(before.iter().all(|it| ids.contains(it.id.as_str())), "{sort:?} misses a skill");
        let in_order = all.is_sorted_by(|one, other| match sort {
            SkillSort::Name => one.name < other.name,
            SkillSort::Popularity => {
                (one.execution_count, &one.id) > (other.execution_count, &other.id)
            }
            SkillSort::Rating => (one.rating, &one.id) > (other.rating, &other.id),
            _ => one.id > other.id,
        });
        assert!(in_order, "{sort:?} is out of order");
    }
}

#[tokio::test]
async fn a_rating_that_no_decimal_holds_does_not_break_its_page() {
    let (catalog, _, mut client) = start().await;
    for (number, (sum, count)) in
        [(13_i64, 3_i64), (14, 3), (13, 3), (29, 7), (13, 3)].iter().enumerate()
    {
        let skill = publish(&mut client, a_skill(&format!("rated-{number}"))).await.unwrap();
        sqlx::query(
            "update catalog.skill_stats set rating_sum = $2, rating_count = $3 where skill_id = $1",
        )
        .bind(Uuid::parse_str(&skill.id).unwrap())
        .bind(sum)
        .bind(count)
        .execute(&catalog.database.superuser)
        .await
        .unwrap();
    }
    let request = ListSkillsRequest {
        page_size: 1,
        sort: SkillSort::Rating.into(),
        ..ListSkillsRequest::default()
    };

    let names = names(&mut client, request).await;

    assert_eq!(names, ["rated-1", "rated-4", "rated-2", "rated-0", "rated-3"]);
}

#[tokio::test]
async fn each_filter_keeps_what_it_names_and_all_work_together() {
    let (catalog, developer, mut client) = start().await;
    let other = catalog.credentials.person(ihuman_shared::access::Role::Developer).await;
    let tagged = |name: &str, category: &str, difficulty: Difficulty, tags: &[&str]| Skill {
        category: category.to_owned(),
        difficulty: difficulty.into(),
        tags: tags.iter().map(|it| (*it).to_owned()).collect(),
        ..a_skill(name)
    };
    let mine = [
        tagged("one", "text", Difficulty::Beginner, &["pdf", "ocr"]),
        tagged("two", "text", Difficulty::Expert, &["pdf"]),
        tagged("three", "images", Difficulty::Expert, &["ocr"]),
    ];
    for skill in mine {
        publish(&mut client, skill).await.unwrap();
    }
    let theirs = tagged("four", "text", Difficulty::Expert, &["pdf"]);
    publish(&mut skills(&catalog, &other), theirs).await.unwrap();
    let any = ListSkillsRequest::default;
    let author_id = developer.user_id.to_string();

    let by_category = ListSkillsRequest { category: "text".to_owned(), ..any() };
    let by_difficulty = ListSkillsRequest { difficulty: Difficulty::Expert.into(), ..any() };
    let by_tag = ListSkillsRequest { tag: "ocr".to_owned(), ..any() };
    let by_author = ListSkillsRequest { author_id: author_id.clone(), ..any() };
    let by_all = ListSkillsRequest {
        category: "text".to_owned(),
        difficulty: Difficulty::Expert.into(),
        tag: "pdf".to_owned(),
        author_id,
        ..any()
    };

    assert_eq!(names(&mut client, any()).await, ["four", "three", "two", "one"]);
    assert_eq!(names(&mut client, by_category).await, ["four", "two", "one"]);
    assert_eq!(names(&mut client, by_difficulty).await, ["four", "three", "two"]);
    assert_eq!(names(&mut client, by_tag).await, ["three", "one"]);
    assert_eq!(names(&mut client, by_author).await, ["three", "two", "one"]);
    for sort in [SkillSort::Newest, SkillSort::Name, SkillSort::Popularity, SkillSort::Rating] {
        let sorted = ListSkillsRequest { sort: sort.into(), ..by_all.clone() };
        assert_eq!(names(&mut client, sorted).await, ["two"], "{sort:?}");
    }
}

#[tokio::test]
async fn lists_leave_out_archived_skills_and_long_texts() {
    let (_catalog, _, mut client) = start().await;
    let long = Skill {
        body: "long".to_owned(),
        parameters_schema: object(json!({"type": "object"})),
        allowed_tools: vec!["Read".to_owned()],
        ..a_skill("kept")
    };
    let kept = publish(&mut client, long).await.unwrap();
    let archived = publish(&mut client, a_skill("archived")).await.unwrap();
    client.archive_skill(ArchiveSkillRequest { skill_id: archived.id }).await.unwrap();

    for sort in [SkillSort::Newest, SkillSort::Name, SkillSort::Popularity, SkillSort::Rating] {
        let request = ListSkillsRequest { sort: sort.into(), ..ListSkillsRequest::default() };
        let page = client.list_skills(request).await.unwrap().into_inner();

        let head = Skill { body: String::new(), parameters_schema: None, ..kept.clone() };
        assert_eq!(page.skills, [head]);
    }
}

#[tokio::test]
async fn a_page_has_fifty_skills_unless_the_request_says_so_and_never_more_than_two_hundred() {
    let (catalog, developer, mut client) = start().await;
    super::plans::insert_skills(&catalog.database.superuser, developer.user_id, 230).await;
    let size = async |client: &mut Skills, page_size: i32| {
        let request = ListSkillsRequest { page_size, ..ListSkillsRequest::default() };
        client.list_skills(request).await.map(|it| it.into_inner().skills.len())
    };

    assert_eq!(size(&mut client, 0).await.unwrap(), 50);
    assert_eq!(size(&mut client, 7).await.unwrap(), 7);
    assert_eq!(size(&mut client, 1000).await.unwrap(), 200);
    assert_eq!(violations(&size(&mut client, -1).await.unwrap_err()), ["page_size"]);
}

#[tokio::test]
async fn a_token_goes_on_with_its_own_list_only() {
    let (_catalog, _, mut client) = start().await;
    for name in ["one", "two"] {
        publish(&mut client, a_skill(name)).await.unwrap();
    }
    let request = ListSkillsRequest { page_size: 1, ..ListSkillsRequest::default() };
    let page = client.list_skills(request.clone()).await.unwrap().into_inner();
    let next = ListSkillsRequest { page_token: page.next_page_token, ..request };

    let others = [
        ListSkillsRequest { category: "text".to_owned(), ..next.clone() },
        ListSkillsRequest { sort: SkillSort::Name.into(), ..next.clone() },
        ListSkillsRequest { page_token: "bm9uc2Vuc2U".to_owned(), ..next.clone() },
    ];
    for other in others {
        let status = client.list_skills(other).await.unwrap_err();
        assert_eq!(violations(&status), ["page_token"]);
    }
    assert_eq!(client.list_skills(next).await.unwrap().into_inner().skills.len(), 1);
}

#[tokio::test]
async fn filters_that_can_not_be_met_are_all_named() {
    let (_catalog, _, mut client) = start().await;
    let request = ListSkillsRequest {
        category: "No Slug".to_owned(),
        difficulty: 99,
        tag: "t".repeat(49),
        author_id: "me".to_owned(),
        sort: 99,
        ..ListSkillsRequest::default()
    };

    let status = client.list_skills(request).await.unwrap_err();

    assert_eq!(violations(&status), ["category", "difficulty", "tag", "author_id", "sort"]);
}
