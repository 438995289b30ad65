//! The protocol's messages as another implementation would have them, and how each reads in JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use serde_json::{Value as Json, json};

macro_rules! messages {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* })*) => {
        $(#[derive(Clone, PartialEq, prost::Message)]
        pub(crate) struct $name { $($(#[$attribute])* pub(crate) $field: $kind,)* })*
    };
}

messages! {
    Empty {}
    PipelineReqBody {
        #[prost(string, optional, tag = "1")] baton: Option<String>,
        #[prost(message, repeated, tag = "2")] requests: Vec<StreamRequest>,
    }
    CursorReqBody {
        #[prost(string, optional, tag = "1")] baton: Option<String>,
        #[prost(message, optional, tag = "2")] batch: Option<Batch>,
    }
    StreamRequest { #[prost(oneof = "Request", tags = "1, 2, 3, 4, 5, 6, 7, 8")] request: Option<Request>, }
    ExecuteReq { #[prost(message, optional, tag = "1")] stmt: Option<Stmt>, }
    BatchReq { #[prost(message, optional, tag = "1")] batch: Option<Batch>, }
    SqlReq {
        #[prost(string, optional, tag = "1")] sql: Option<String>,
        #[prost(int32, optional, tag = "2")] sql_id: Option<i32>,
    }
    StoreSqlReq { #[prost(int32, tag = "1")] sql_id: i32, #[prost(string, tag = "2")] sql: String, }
    CloseSqlReq { #[prost(int32, tag = "1")] sql_id: i32, }
    Stmt {
        #[prost(string, optional, tag = "1")] sql: Option<String>,
        #[prost(int32, optional, tag = "2")] sql_id: Option<i32>,
        #[prost(message, repeated, tag = "3")] args: Vec<Value>,
        #[prost(message, repeated, tag = "4")] named_args: Vec<NamedArg>,
        #[prost(bool, optional, tag = "5")] want_rows: Option<bool>,
    }
    NamedArg { #[prost(string, tag = "1")] name: String, #[prost(message, optional, tag = "2")] value: Option<Value>, }
    Value { #[prost(oneof = "Scalar", tags = "1, 2, 3, 4, 5")] value: Option<Scalar>, }
    Batch { #[prost(message, repeated, tag = "1")] steps: Vec<BatchStep>, }
    BatchStep {
        #[prost(message, optional, tag = "1")] condition: Option<BatchCond>,
        #[prost(message, optional, tag = "2")] stmt: Option<Stmt>,
    }
    BatchCond { #[prost(oneof = "Cond", tags = "1, 2, 3, 4, 5, 6")] cond: Option<Cond>, }
    CondList { #[prost(message, repeated, tag = "1")] conds: Vec<BatchCond>, }
    PipelineRespBody {
        #[prost(string, optional, tag = "1")] baton: Option<String>,
        #[prost(string, optional, tag = "2")] base_url: Option<String>,
        #[prost(message, repeated, tag = "3")] results: Vec<StreamResult>,
    }
    CursorRespBody {
        #[prost(string, optional, tag = "1")] baton: Option<String>,
        #[prost(string, optional, tag = "2")] base_url: Option<String>,
    }
    StreamResult { #[prost(oneof = "ResultKind", tags = "1, 2")] result: Option<ResultKind>, }
    StreamResponse { #[prost(oneof = "Response", tags = "1, 2, 3, 4, 5, 6, 7, 8")] response: Option<Response>, }
    ExecuteResp { #[prost(message, optional, tag = "1")] result: Option<StmtResult>, }
    BatchResp { #[prost(message, optional, tag = "1")] result: Option<BatchResult>, }
    DescribeResp { #[prost(message, optional, tag = "1")] result: Option<DescribeResult>, }
    GetAutocommitResp { #[prost(bool, tag = "1")] is_autocommit: bool, }
    Error { #[prost(string, tag = "1")] message: String, #[prost(string, optional, tag = "2")] code: Option<String>, }
    StmtResult {
        #[prost(message, repeated, tag = "1")] cols: Vec<Col>,
        #[prost(message, repeated, tag = "2")] rows: Vec<Row>,
        #[prost(uint64, tag = "3")] affected_row_count: u64,
        #[prost(sint64, optional, tag = "4")] last_insert_rowid: Option<i64>,
    }
    Col {
        #[prost(string, optional, tag = "1")] name: Option<String>,
        #[prost(string, optional, tag = "2")] decltype: Option<String>,
    }
    Row { #[prost(message, repeated, tag = "1")] values: Vec<Value>, }
    BatchResult {
        #[prost(btree_map = "uint32, message", tag = "1")] step_results: BTreeMap<u32, StmtResult>,
        #[prost(btree_map = "uint32, message", tag = "2")] step_errors: BTreeMap<u32, Error>,
    }
    CursorEntry { #[prost(oneof = "Entry", tags = "1, 2, 3, 4, 5")] entry: Option<Entry>, }
    StepBeginEntry { #[prost(uint32, tag = "1")] step: u32, #[prost(message, repeated, tag = "2")] cols: Vec<Col>, }
    StepEndEntry {
        #[prost(uint64, tag = "1")] affected_row_count: u64,
        #[prost(sint64, optional, tag = "2")] last_insert_rowid: Option<i64>,
    }
    StepErrorEntry { #[prost(uint32, tag = "1")] step: u32, #[prost(message, optional, tag = "2")] error: Option<Error>, }
    DescribeResult {
        #[prost(message, repeated, tag = "1")] params: Vec<DescribeParam>,
        #[prost(message, repeated, tag = "2")] cols: Vec<DescribeCol>,
        #[prost(bool, tag = "3")] is_explain: bool,
        #[prost(bool, tag = "4")] is_readonly: bool,
    }
    DescribeParam { #[prost(string, optional, tag = "1")] name: Option<String>, }
    DescribeCol {
        #[prost(string, tag = "1")] name: String,
        #[prost(string, optional, tag = "2")] decltype: Option<String>,
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Request {
    #[prost(message, tag = "1")]
    Close(Empty),
    #[prost(message, tag = "2")]
    Execute(ExecuteReq),
    #[prost(message, tag = "3")]
    Batch(BatchReq),
    #[prost(message, tag = "4")]
    Sequence(SqlReq),
    #[prost(message, tag = "5")]
    Describe(SqlReq),
    #[prost(message, tag = "6")]
    StoreSql(StoreSqlReq),
    #[prost(message, tag = "7")]
    CloseSql(CloseSqlReq),
    #[prost(message, tag = "8")]
    GetAutocommit(Empty),
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Scalar {
    #[prost(message, tag = "1")]
    Null(Empty),
    #[prost(sint64, tag = "2")]
    Integer(i64),
    #[prost(double, tag = "3")]
    Float(f64),
    #[prost(string, tag = "4")]
    Text(String),
    #[prost(bytes = "vec", tag = "5")]
    Blob(Vec<u8>),
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Cond {
    #[prost(uint32, tag = "1")]
    StepOk(u32),
    #[prost(uint32, tag = "2")]
    StepError(u32),
    #[prost(message, boxed, tag = "3")]
    Not(Box<BatchCond>),
    #[prost(message, tag = "4")]
    And(CondList),
    #[prost(message, tag = "5")]
    Or(CondList),
    #[prost(message, tag = "6")]
    IsAutocommit(Empty),
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ResultKind {
    #[prost(message, tag = "1")]
    Ok(StreamResponse),
    #[prost(message, tag = "2")]
    Error(Error),
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Response {
    #[prost(message, tag = "1")]
    Close(Empty),
    #[prost(message, tag = "2")]
    Execute(ExecuteResp),
    #[prost(message, tag = "3")]
    Batch(BatchResp),
    #[prost(message, tag = "4")]
    Sequence(Empty),
    #[prost(message, tag = "5")]
    Describe(DescribeResp),
    #[prost(message, tag = "6")]
    StoreSql(Empty),
    #[prost(message, tag = "7")]
    CloseSql(Empty),
    #[prost(message, tag = "8")]
    GetAutocommit(GetAutocommitResp),
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Entry {
    #[prost(message, tag = "1")]
    StepBegin(StepBeginEntry),
    #[prost(message, tag = "2")]
    StepEnd(StepEndEntry),
    #[prost(message, tag = "3")]
    StepError(StepErrorEntry),
    #[prost(message, tag = "4")]
    Row(Row),
    #[prost(message, tag = "5")]
    Error(Error),
}

fn text(json: &Json) -> Option<String> {
    json.as_str().map(str::to_owned)
}

fn id(json: &Json) -> Option<i32> {
    json.as_i64().map(|id| i32::try_from(id).unwrap())
}

fn list<T>(json: &Json, read: fn(&Json) -> T) -> Vec<T> {
    json.as_array()
        .map(|list| list.iter().map(read).collect())
        .unwrap_or_default()
}

/// A pipeline's requests, from their JSON.
pub(crate) fn request(json: &Json) -> StreamRequest {
    let sql = || SqlReq {
        sql: text(&json["sql"]),
        sql_id: id(&json["sql_id"]),
    };
    let request = match json["type"].as_str().unwrap() {
        "close" => Request::Close(Empty {}),
        "execute" => Request::Execute(ExecuteReq {
            stmt: Some(stmt(&json["stmt"])),
        }),
        "batch" => Request::Batch(BatchReq {
            batch: Some(batch(&json["batch"])),
        }),
        "sequence" => Request::Sequence(sql()),
        "describe" => Request::Describe(sql()),
        "store_sql" => Request::StoreSql(StoreSqlReq {
            sql_id: id(&json["sql_id"]).unwrap(),
            sql: text(&json["sql"]).unwrap(),
        }),
        "close_sql" => Request::CloseSql(CloseSqlReq {
            sql_id: id(&json["sql_id"]).unwrap(),
        }),
        "get_autocommit" => Request::GetAutocommit(Empty {}),
        other => panic!("{other}"),
    };
    StreamRequest { request: Some(request) }
}

fn stmt(json: &Json) -> Stmt {
    Stmt {
        sql: text(&json["sql"]),
        sql_id: id(&json["sql_id"]),
        args: list(&json["args"], value),
        named_args: list(&json["named_args"], |named| NamedArg {
            name: text(&named["name"]).unwrap(),
            value: Some(value(&named["value"])),
        }),
        want_rows: json["want_rows"].as_bool(),
    }
}

pub(crate) fn batch(json: &Json) -> Batch {
    Batch {
        steps: list(&json["steps"], |step| BatchStep {
            condition: step.get("condition").filter(|json| !json.is_null()).map(condition),
            stmt: Some(stmt(&step["stmt"])),
        }),
    }
}

fn condition(json: &Json) -> BatchCond {
    let step = || u32::try_from(json["step"].as_u64().unwrap()).unwrap();
    let conds = || CondList {
        conds: list(&json["conds"], condition),
    };
    let cond = match json["type"].as_str().unwrap() {
        "ok" => Cond::StepOk(step()),
        "error" => Cond::StepError(step()),
        "not" => Cond::Not(Box::new(condition(&json["cond"]))),
        "and" => Cond::And(conds()),
        "or" => Cond::Or(conds()),
        "is_autocommit" => Cond::IsAutocommit(Empty {}),
        other => panic!("{other}"),
    };
    BatchCond { cond: Some(cond) }
}

fn value(json: &Json) -> Value {
    let value = match json["type"].as_str().unwrap() {
        "null" => Scalar::Null(Empty {}),
        "integer" => Scalar::Integer(json["value"].as_str().unwrap().parse().unwrap()),
        "float" => Scalar::Float(json["value"].as_f64().unwrap()),
        "text" => Scalar::Text(text(&json["value"]).unwrap()),
        "blob" => Scalar::Blob(STANDARD.decode(json["base64"].as_str().unwrap()).unwrap()),
        other => panic!("{other}"),
    };
    Value { value: Some(value) }
}

fn value_json(value: &Value) -> Json {
    match value.value.as_ref().expect("a value has a kind") {
        Scalar::Null(_) => json!({"type": "null"}),
        Scalar::Integer(number) => json!({"type": "integer", "value": number.to_string()}),
        Scalar::Float(number) => json!({"type": "float", "value": number}),
        Scalar::Text(text) => json!({"type": "text", "value": text}),
        Scalar::Blob(bytes) => json!({"type": "blob", "base64": STANDARD.encode(bytes)}),
    }
}

fn row_json(row: &Row) -> Json {
    row.values.iter().map(value_json).collect()
}

fn cols_json(cols: &[Col]) -> Json {
    cols.iter()
        .map(|col| json!({"name": col.name, "decltype": col.decltype}))
        .collect()
}

fn error_json(error: &Error) -> Json {
    json!({"message": error.message, "code": error.code})
}

fn stmt_json(result: &StmtResult) -> Json {
    json!({
        "cols": cols_json(&result.cols), "rows": result.rows.iter().map(row_json).collect::<Json>(),
        "affected_row_count": result.affected_row_count,
        "last_insert_rowid": result.last_insert_rowid.map(|rowid| rowid.to_string()),
    })
}

fn batch_json(result: &BatchResult, steps: usize) -> Json {
    let steps = 0..u32::try_from(steps).unwrap();
    json!({
        "step_results": steps.clone().map(|step| result.step_results.get(&step).map(stmt_json)).collect::<Vec<_>>(),
        "step_errors": steps.map(|step| result.step_errors.get(&step).map(error_json)).collect::<Vec<_>>(),
    })
}

fn describe_json(result: &DescribeResult) -> Json {
    json!({
        "params": result.params.iter().map(|param| json!({"name": param.name})).collect::<Json>(),
        "cols": result.cols.iter().map(|col| json!({"name": col.name, "decltype": col.decltype})).collect::<Json>(),
        "is_explain": result.is_explain, "is_readonly": result.is_readonly,
    })
}

/// A result as JSON has it; `steps` is the number of steps of the batch that it answers.
pub(crate) fn result_json(result: &StreamResult, steps: usize) -> Json {
    let response = match result.result.as_ref().expect("a result has a kind") {
        ResultKind::Error(error) => return json!({"type": "error", "error": error_json(error)}),
        ResultKind::Ok(response) => response.response.as_ref().expect("a response has a kind"),
    };
    let response = match response {
        Response::Close(_) => json!({"type": "close"}),
        Response::Execute(response) => json!({"type": "execute", "result": response.result.as_ref().map(stmt_json)}),
        Response::Batch(response) => {
            json!({"type": "batch", "result": response.result.as_ref().map(|result| batch_json(result, steps))})
        }
        Response::Sequence(_) => json!({"type": "sequence"}),
        Response::Describe(response) => {
            json!({"type": "describe", "result": response.result.as_ref().map(describe_json)})
        }
        Response::StoreSql(_) => json!({"type": "store_sql"}),
        Response::CloseSql(_) => json!({"type": "close_sql"}),
        Response::GetAutocommit(response) => {
            json!({"type": "get_autocommit", "is_autocommit": response.is_autocommit})
        }
    };
    json!({"type": "ok", "response": response})
}

/// A cursor's answer as the lines of JSON that mean the same. Without the baton.
pub(crate) fn cursor_json(mut body: &[u8]) -> Vec<Json> {
    let head = CursorRespBody::decode_length_delimited(&mut body).unwrap();
    let mut lines = vec![json!({"baton": head.baton.is_some(), "base_url": head.base_url})];
    while !body.is_empty() {
        let entry = CursorEntry::decode_length_delimited(&mut body).unwrap();
        lines.push(match entry.entry.expect("an entry has a kind") {
            Entry::StepBegin(begin) => {
                json!({"type": "step_begin", "step": begin.step, "cols": cols_json(&begin.cols)})
            }
            Entry::StepEnd(end) => json!({"type": "step_end", "affected_row_count": end.affected_row_count,
                "last_insert_rowid": end.last_insert_rowid.map(|rowid| rowid.to_string())}),
            Entry::StepError(error) => {
                json!({"type": "step_error", "step": error.step, "error": error.error.as_ref().map(error_json)})
            }
            Entry::Row(row) => json!({"type": "row", "row": row_json(&row)}),
            Entry::Error(error) => json!({"type": "error", "error": error_json(&error)}),
        });
    }
    lines
}
