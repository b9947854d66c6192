//! Finding skills by words.

use std::collections::HashSet;

use ihuman_proto::catalog::v1::{ArchiveSkillRequest, SearchSkillsRequest, Skill, SkillMatch};
use ihuman_shared::testing::violations;

use super::{Skills, a_skill, publish, start};

async fn matches(client: &mut Skills, query: &str) -> Vec<SkillMatch> {
    let request = SearchSkillsRequest { query: query.to_owned(), ..SearchSkillsRequest::default() };
    client.search_skills(request).await.unwrap().into_inner().matches
}

async fn found(client: &mut Skills, query: &str) -> Vec<String> {
    let matches = matches(client, query).await;
    matches.into_iter().map(|it| it.skill.unwrap().name).collect()
}

async fn publish_described(client: &mut Skills, name: &str, description: &str, tags: &[&str]) {
    let skill = Skill {
        description: description.to_owned(),
        tags: tags.iter().map(|it| (*it).to_owned()).collect(),
        ..a_skill(name)
    };
    publish(client, skill).await.unwrap();
}

#[tokio::test]
async fn a_skill_is_found_by_its_name_its_tags_and_any_form_of_its_words() {
    let (_catalog, _, mut client) = start().await;
    let description = "Pulls tables out of documents, keeping their well-known layout.";
    publish_described(&mut client, "pdf-extract", description, &["office", "data-mining"]).await;
    publish_described(&mut client, "image-resize", "Makes pictures smaller.", &["graphics"]).await;

    for query in [
        "pdf",
        "PDF",
        "pdf-extract",
        "extracting",
        "office",
        "data-mining",
        "document",
        "pull table",
        "\"tables out of documents\"",
        "well-known",
        "pdf -picture",
        "extract -image-resize",
        "table or nonsense",
    ] {
        assert_eq!(found(&mut client, query).await, ["pdf-extract"], "{query}");
    }
    for query in ["video", "\"documents tables\"", "pdf -office", "pdf -pdf-extract", "pdf picture"]
    {
        assert!(found(&mut client, query).await.is_empty(), "{query}");
    }
    assert_eq!(found(&mut client, "pdf or pictures").await.len(), 2);
    assert_eq!(found(&mut client, "-pdf").await, ["image-resize"]);
}

#[tokio::test]
async fn the_name_counts_more_than_a_tag_and_a_tag_more_than_the_description() {
    let (_catalog, _, mut client) = start().await;
    let often = "translate, translate, translate and translate";
    publish_described(&mut client, "by-description", often, &[]).await;
    publish_described(&mut client, "by-tag", "Something else.", &["translate"]).await;
    publish_described(&mut client, "translate-text", "Something else.", &[]).await;
    publish_described(&mut client, "translate", "Something else.", &[]).await;
    publish_described(&mut client, "translate-pages", "To translate pages.", &["translate"]).await;

    let names = found(&mut client, "translate").await;
    let ranks: Vec<f32> =
        matches(&mut client, "translate").await.into_iter().map(|it| it.rank).collect();

    assert_eq!(names[0], "translate");
    assert_eq!(names[1], "translate-pages");
    assert_eq!(names[2], "translate-text");
    assert!(names.contains(&"by-tag".to_owned()) && names.contains(&"by-description".to_owned()));
    assert!(ranks.is_sorted_by(|one, other| one >= other));
}

#[tokio::test]
async fn a_name_is_found_first_however_it_is_written() {
    let (_catalog, _, mut client) = start().await;
    publish_described(&mut client, "resize-image", "Image resize.", &[]).await;
    publish_described(&mut client, "image-resize", "Makes it smaller.", &[]).await;
    publish_described(&mut client, "image-resize-fast", "Image resize, image resize.", &[]).await;

    for query in ["image-resize", "image resize", " Image Resize "] {
        assert_eq!(found(&mut client, query).await[0], "image-resize", "{query}");
    }
}

#[tokio::test]
async fn words_that_say_nothing_find_nothing() {
    let (_catalog, _, mut client) = start().await;
    publish(&mut client, a_skill("something")).await.unwrap();

    for query in ["the", "and of the", " ", "\"\"", "-", "--", "or", "!!! &&& :*", "'; drop table"]
    {
        assert!(found(&mut client, query).await.is_empty(), "{query}");
    }
}

#[tokio::test]
async fn a_query_has_one_to_two_hundred_characters() {
    let (_catalog, _, mut client) = start().await;

    for query in [String::new(), "a".repeat(201), "a\0b".to_owned()] {
        let request = SearchSkillsRequest { query, ..SearchSkillsRequest::default() };
        let status = client.search_skills(request).await.unwrap_err();
        assert_eq!(violations(&status), ["query"]);
    }
    assert!(found(&mut client, &"ä ".repeat(100)).await.is_empty());
}

#[tokio::test]
async fn pages_of_matches_have_each_skill_once_while_more_are_published() {
    let (_catalog, _, mut client) = start().await;
    let mut before = HashSet::new();
    for number in 0..23 {
        let tags = if number % 2 == 0 { &["search"][..] } else { &[] };
        let name = format!("{}-{number}", if number % 3 == 0 { "search" } else { "other" });
        publish_described(&mut client, &name, "For a search.", tags).await;
        before.insert(name);
    }

    let (mut seen, mut page_token) = (Vec::new(), String::new());
    for page in 0.. {
        let query = "search".to_owned();
        let request = SearchSkillsRequest { query, page_size: 5, page_token };
        let response = client.search_skills(request).await.unwrap().into_inner();
        seen.extend(response.matches);
        page_token = response.next_page_token;
        if page_token.is_empty() {
            break;
        }
        publish_described(&mut client, &format!("search-late-{page}"), "Late.", &[]).await;
    }

    let key = |it: &SkillMatch| (it.rank, it.skill.as_ref().unwrap().id.clone());
    assert!(seen.is_sorted_by(|one, other| key(one) > key(other)));
    let names: HashSet<String> = seen.into_iter().map(|it| it.skill.unwrap().name).collect();
    assert!(names.is_superset(&before));
}

#[tokio::test]
async fn a_token_goes_on_with_its_own_query_only() {
    let (_catalog, _, mut client) = start().await;
    for name in ["find-one", "find-two"] {
        publish(&mut client, a_skill(name)).await.unwrap();
    }
    let query = "find".to_owned();
    let request = SearchSkillsRequest { query, page_size: 1, page_token: String::new() };
    let page_token = client.search_skills(request).await.unwrap().into_inner().next_page_token;

    let other = SearchSkillsRequest { query: "two".to_owned(), page_size: 1, page_token };
    let status = client.search_skills(other).await.unwrap_err();

    assert_eq!(violations(&status), ["page_token"]);
}

#[tokio::test]
async fn a_match_has_neither_body_nor_schema_and_is_never_archived() {
    let (_catalog, _, mut client) = start().await;
    let kept = Skill { body: "long".to_owned(), ..a_skill("kept-words") };
    let kept = publish(&mut client, kept).await.unwrap();
    let archived = publish(&mut client, a_skill("archived-words")).await.unwrap();
    client.archive_skill(ArchiveSkillRequest { skill_id: archived.id }).await.unwrap();

    let matches = matches(&mut client, "words").await;

    let head = Skill { body: String::new(), parameters_schema: None, ..kept };
    assert_eq!(matches.into_iter().map(|it| it.skill.unwrap()).collect::<Vec<_>>(), [head]);
}

#[tokio::test]
async fn words_of_every_script_are_found_in_both_cases() {
    let (_catalog, _, mut client) = start().await;
    publish_described(&mut client, "first", "Навык для отчётов.", &[]).await;
    publish_described(&mut client, "second", "Übersetzt Texte.", &[]).await;

    for query in ["навык", "Навык", "НАВЫК"] {
        assert_eq!(found(&mut client, query).await, ["first"], "{query}");
    }
    assert_eq!(found(&mut client, "übersetzt").await, ["second"]);
}
