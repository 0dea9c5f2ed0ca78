use super::*;

const END_OF_DUMP: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";

fn entry(name: &str, kind: &str, text: &str) -> String {
    format!("--\n-- Name: {name}; Type: {kind}; Schema: public; Owner: -\n--\n\n{text}\n\n\n")
}

fn data(name: &str, rows: &str) -> String {
    format!(
        "--\n-- Data for Name: {name}; Type: TABLE DATA; Schema: public; Owner: -\n--\n\nCOPY public.{name} (a) FROM stdin;\n{rows}\\.\n\n\n"
    )
}

fn pass(text: &str, there: &[&str]) -> (Survey, String) {
    let there = there.iter().map(|schema| schema.as_bytes().to_vec()).collect();
    let mut passed = Vec::new();
    let survey = read(text.as_bytes(), &mut passed, &there).unwrap();
    (survey, String::from_utf8(passed).unwrap())
}

fn table(name: &str) -> (String, String) {
    ("public".to_owned(), name.to_owned())
}

#[test]
fn what_a_dump_holds() {
    let text = [
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n-- Dumped from\n\nSET x = 1;\n",
        &entry("x", "SCHEMA", "CREATE SCHEMA x;"),
        &entry("hstore", "EXTENSION", "CREATE EXTENSION IF NOT EXISTS \"ho\"\"store\" WITH SCHEMA x;"),
        &entry("a; Type: b", "TABLE", "CREATE TABLE public.\"a; Type: b\" (\n a integer\n);"),
        &entry("t", "TABLE", "CREATE TABLE public.t (\n begin integer\n);"),
        &entry("7", "BLOB", "SELECT pg_catalog.lo_create('7');"),
        &data("t", "--\n-- Name: e; Type: EVENT TRIGGER; Schema: -; Owner: -\n\n\\\\restrict x\nCOPY x FROM stdin;\n"),
        END_OF_DUMP,
        "\\unrestrict abc\n\n",
    ]
    .concat();
    let (survey, passed) = pass(&text, &[]);
    assert_eq!(survey.tables, [(table("a; Type: b"), Some(0)), (table("t"), Some(5))].into_iter().collect());
    assert_eq!((survey.large_objects, survey.whole, survey.readable), (1, true, true));
    let [extension] = &survey.extensions[..] else { panic!("{survey:?}") };
    assert_eq!((extension.name.as_str(), extension.schema.as_str()), ("ho\"store", "x"));
    assert!(survey.left_out.is_empty());
    assert_eq!(passed, text.replace("\\restrict abc\n", "").replace("\\unrestrict abc\n", ""));
    let (_, without) = pass(&text, &["x"]);
    assert_eq!(without, passed.replace("CREATE SCHEMA x;\n\n\n", ""));
}

#[test]
fn what_only_a_superuser_may_make_is_left_out_and_named() {
    let kept = [entry("t", "TABLE", "CREATE TABLE public.t (\n a integer\n);"), END_OF_DUMP.to_owned()];
    for (gone, named) in [
        (
            entry(
                "e",
                "EVENT TRIGGER",
                "CREATE EVENT TRIGGER e ON sql_drop\n   EXECUTE FUNCTION public.f();\n\nALTER EVENT TRIGGER e DISABLE;",
            ),
            "event trigger e",
        ),
        (entry("s", "SUBSCRIPTION", "CREATE SUBSCRIPTION s CONNECTION 'x'\n PUBLICATION p;"), "subscription s"),
        (entry("p", "PUBLICATION", "CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert');"), "publication p"),
        (entry("EXTENSION e", "COMMENT", "COMMENT ON EXTENSION e IS 'a\n\nb';"), ""),
    ] {
        let (survey, passed) = pass(&[kept[0].as_str(), &gone, &kept[1]].concat(), &[]);
        assert_eq!(survey.left_out.join(""), named);
        let header = format!("{}\n--\n\n", gone.lines().nth(1).unwrap());
        assert_eq!(passed, [kept[0].as_str(), "--\n", &header, &kept[1]].concat(), "{gone}");
        assert!(survey.whole);
    }
    for stays in [
        entry("p", "PUBLICATION", "CREATE PUBLICATION p WITH (publish = 'insert');"),
        entry("TABLE t", "COMMENT", "COMMENT ON TABLE public.t IS 'COMMENT ON EXTENSION';"),
        entry(
            "f",
            "FUNCTION",
            "CREATE FUNCTION f() AS $$\nCREATE EVENT TRIGGER\n\\restrict x\nCOPY x FROM stdin;\n$$;",
        ),
    ] {
        let text = [stays.as_str(), &kept[1]].concat();
        assert_eq!(pass(&text, &[]).1, text);
    }
}

#[test]
fn a_dump_that_is_cut_is_not_whole() {
    let text = [entry("t", "TABLE", "CREATE TABLE public.t ();"), data("t", "1\n"), END_OF_DUMP.to_owned()].concat();
    let whole = text.find("complete\n").unwrap() + "complete\n".len();
    for cut in 0..whole {
        assert!(!pass(&text[..cut], &[]).0.whole, "{cut}");
    }
    assert!(pass(&text[..whole], &[]).0.whole && pass(&text, &[]).0.whole);
    assert!(!pass(&format!("{text}SELECT 1;\n"), &[]).0.whole);
    assert!(!pass(&format!("{text}{}", data("t", "1\n")), &[]).0.whole);
    // A row may be longer than any line that is looked at, and say what it likes.
    let long = format!("{}\n", "--\\n".repeat(200_000));
    let text = text.replace("1\n\\.", &format!("1\n{long}\\."));
    let (survey, passed) = pass(&text, &[]);
    assert_eq!((survey.tables[&table("t")], passed == text, survey.whole), (Some(2), true, true));
}

#[test]
fn rows_that_are_inserted_are_not_counted() {
    let insert = data("t", "").replace("COPY public.t (a) FROM stdin;\n\\.", "INSERT INTO public.t VALUES (1);");
    let text = [entry("t", "TABLE", "CREATE TABLE public.t ();"), insert, END_OF_DUMP.to_owned()].concat();
    assert_eq!(pass(&text, &[]).0.tables[&table("t")], None);
}

#[test]
fn passwords_of_user_mappings_are_found_and_emptied_and_nothing_else_is() {
    let like = "    password 'row',\n";
    let mapping = |password: &str| {
        entry(
            "USER MAPPING app SERVER s",
            "USER MAPPING",
            &format!("CREATE USER MAPPING FOR app SERVER s OPTIONS (\n    password {password},\n    \"user\" 'u'\n);"),
        )
    };
    let text = |password: &str| {
        [
            entry("t", "TABLE", "CREATE TABLE public.t (\n a text\n);").as_str(),
            &data("t", &format!("--\n-- Name: x; Type: USER MAPPING; Schema: -; Owner: -\n--\n\n{like}")),
            &mapping(password),
            &entry("f", "FUNCTION", &format!("CREATE FUNCTION f() AS $$\n{like}$$;")),
            END_OF_DUMP,
            "\\unrestrict abc\n\n",
        ]
        .concat()
    };
    for password in
        ["'x'", "'it''s'", "E'a\\\\b'", "'a\n--\nb'", "'a\n\n--\n-- Name: z; Type: TABLE; Schema: -; Owner: -\n'", "''"]
    {
        let text = (text(password), text(if password.starts_with('E') { "E''" } else { "''" }));
        let (survey, passed) = pass(&text.0, &[]);
        assert_eq!(survey.passwords.iter().map(String::as_str).collect::<Vec<_>>(), ["USER MAPPING app SERVER s"]);
        assert_eq!(passed, text.0.replace("\\unrestrict abc\n", ""), "an old dump's is loaded");
        let mut without = Vec::new();
        without_passwords(text.0.as_bytes(), &mut without).unwrap();
        assert_eq!(String::from_utf8(without).unwrap(), text.1, "{password}");
        assert!(survey.whole && pass(&text.1, &[]).0.whole);
    }
    for harmless in ["password_required 'false'", "\"user\" 'password'", "sslcert '/p'"] {
        let text = mapping("'x'").replace("password 'x'", harmless);
        assert!(pass(&text, &[]).0.passwords.is_empty(), "{harmless}");
    }
}
