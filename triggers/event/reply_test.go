package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/shardmill/shardmill/sdk/record"
)

// number is the sequence number of the i-th record of batchOf.
func number(e Envelope, i int) string {
	return string(e.Numbers.Append(nil, e.Shard, record.MakeSequence(1, uint64(i)+1)))
}

// failuresOf is a reply that names every record, the last one first.
func failuresOf(e Envelope, runs []record.Run) string {
	var response events.KinesisEventResponse
	for _, run := range runs {
		for r := range run.All() {
			item := events.KinesisBatchItemFailure{ItemIdentifier: string(e.Numbers.Append(nil, e.Shard, r.Sequence))}
			response.BatchItemFailures = append([]events.KinesisBatchItemFailure{item}, response.BatchItemFailures...)
		}
	}
	b, err := json.Marshal(response)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestItemFailures is the table of doc.go, row by row. In a text, #0 to #9 stand for the sequence numbers of the batch's records.
func TestItemFailures(t *testing.T) {
	e, runs := envelope(), three(t)
	other := envelope()
	other.Shard = 7
	tests := []struct {
		body string
		want any // positions, or the reason of a failure
	}{
		// Complete success, as recorded from AWS.
		{``, []int(nil)}, {`""`, []int(nil)}, {`[]`, []int(nil)}, {`null`, []int(nil)}, {`{}`, []int(nil)},
		{`{"batchItemFailures":[]}`, []int{}}, {`{"batchItemFailures":null}`, []int(nil)},
		// The same, written otherwise.
		{" \n", []int(nil)}, {" null ", []int(nil)}, {` "" `, []int(nil)}, {"[ ]", []int(nil)}, {` { "batchItemFailures" : [ ] } `, []int{}},
		{`{"statusCode":200,"body":{"batchItemFailures":[1]}}`, []int(nil)}, {`{"BatchItemFailures":[1]}`, []int(nil)},
		// Part of the batch.
		{`{"batchItemFailures":[{"itemIdentifier":"#1"}]}`, []int{1}},
		{`{"batchItemFailures":[{"itemIdentifier":"#2"},{"itemIdentifier":"#0"}]}`, []int{0, 2}},
		{`{"batchItemFailures":[{"itemIdentifier":"#2"},{"itemIdentifier":"#2"}]}`, []int{2}},
		{`{"batchItemFailures" : [ { "foo" : [{}, "]"], "itemIdentifier" : "#2" } ], "x": "\"}"}`, []int{2}},
		{`{"batchItemFailures":5,"batchItemFailures":[{"itemIdentifier":"","itemIdentifier":"#1"}]}`, []int{1}},
		{`{"batchItem\u0046ailures":[{"item\u0049dentifier":"#1"}]}`, []int{1}},
		// Complete failure, as recorded from AWS.
		{`{"batchItemFailures":[{"itemIdentifier":""}]}`, `itemIdentifier "", which is no sequence number of the batch`},
		{`{"batchItemFailures":[{"itemIdentifier":null}]}`, "has no itemIdentifier"},
		{`{"batchItemFailures":[{"foo":123}]}`, "has no itemIdentifier"},
		{`{"batchItemFailures":[{"foo":null}]}`, "has no itemIdentifier"},
		{`{"batchItemFailures":[{"itemIdentifier":"123"}]}`, `itemIdentifier "123", which is no sequence number`},
		{`{"batchItemFailures":[{"itemIdentifier":123}]}`, "itemIdentifier that is a number and not a string"},
		// Decided here.
		{`{"batchItemFailures":[{"itemIdentifier":"#1"},{"itemIdentifier":""}]}`, "batchItemFailures[1]"},
		{`{"batchItemFailures":[{"itemIdentifier":"#7"}]}`, "a sequence number that is not in the batch"},
		{`{"batchItemFailures":[{"itemIdentifier":"` + number(other, 1) + `"}]}`, "which is no sequence number of the batch"},
		{`{"batchItemFailures":[{"itemIdentifier":"` + strings.Repeat("9", 200) + `"}]}`, "no sequence number"},
		{`{"batchItemFailures":["#1"]}`, "is a string and not an object"}, {`{"batchItemFailures":[null]}`, "is null and not an object"},
		{`{"batchItemFailures":{}}`, "is an object and not a list"}, {`{"batchItemFailures":""}`, "is a string and not a list"},
		{`{"batchItemFailures":false}`, "is a boolean and not a list"},
		{`"done"`, "it is a string and not an object"}, {`[{}]`, "it is a list and not an object"}, {`true`, "a boolean"}, {`12`, "a number"},
		{`done`, "it is not JSON"}, {`{"batchItemFailures":[]`, "it is not JSON"}, {`{} {}`, "it is not JSON"}, {"\xff", "it is not JSON"},
	}
	for _, tt := range tests {
		body := tt.body
		for i := range 10 {
			body = strings.ReplaceAll(body, fmt.Sprintf("#%d", i), number(e, i))
		}
		got, err := ParseReply([]byte(body), e, runs, true)
		if reason, failed := tt.want.(string); failed {
			if !errors.Is(err, ErrReply) || !strings.Contains(err.Error(), reason) {
				t.Errorf("%s: %v, want %s", tt.body, err, reason)
			}
		} else if err != nil || len(got.Failures)+len(tt.want.([]int)) > 0 && !reflect.DeepEqual(got.Failures, tt.want) {
			t.Errorf("%s: %+v, %v, want %v", tt.body, got, err, tt.want)
		}
		if got, err := ParseReply([]byte(body), e, runs, false); err != nil || got.Failures != nil {
			t.Errorf("%s, not honoured: %+v, %v", tt.body, got, err)
		}
	}
}

// TestWindowState has what a function may answer in a tumbling window.
func TestWindowState(t *testing.T) {
	e, runs := envelope(), three(t)
	for _, tt := range []struct {
		body         string
		state        string // "": the batch failed
		final        string // the same at the final call; "-": no state, and no failure
		honoured     string // the failures' positions, where they are honoured
		honouredFail bool
	}{
		{body: `{"state":{}}`, state: `{}`, final: `{}`, honoured: "[]"},
		{body: `{"state":{"1":"a b"}}`, state: `{"1":"a b"}`, final: `{"1":"a b"}`, honoured: "[]"},
		{body: ` { "state" : {"a":{"b":["}"]}} , "batchItemFailures" : [{"itemIdentifier":"#1"}]}`, state: `{"a":{"b":["}"]}}`, final: `{"a":{"b":["}"]}}`, honoured: "[1]"},
		{body: `{"state":{},"batchItemFailures":[{"itemIdentifier":"5"}]}`, state: `{}`, final: `{}`, honouredFail: true},
		{body: `{"state":1,"state":{"x":1}}`, state: `{"x":1}`, final: `{"x":1}`, honoured: "[]"},
		{body: ``, final: "-"}, {body: `""`, final: "-"}, {body: `null`, final: "-"}, {body: `[]`, final: "-"}, {body: `{}`, final: "-"},
		{body: `{"state":null}`, final: "-"}, {body: `{"State":{}}`, final: "-"}, {body: `{"batchItemFailures":[]}`, final: "-"},
		{body: `{"state":[]}`}, {body: `{"state":"x"}`}, {body: `{"state":1}`}, {body: `{"state":false}`}, {body: `{"state":{}`}, {body: `7`},
	} {
		body := []byte(strings.ReplaceAll(tt.body, "#1", number(e, 1)))
		for _, final := range []bool{false, true} {
			e.Window = window("")
			e.Window.Final = final
			want := tt.state
			if final {
				want = tt.final
			}
			got, err := ParseReply(body, e, runs, false)
			if (err != nil) != (want == "") || err != nil && !errors.Is(err, ErrReply) || err == nil && string(got.State) != strings.Trim(want, "-") {
				t.Errorf("%s, final %t: state %s, %v, want %s", tt.body, final, got.State, err, want)
			}
			if want == "" || want == "-" {
				continue
			}
			got, err = ParseReply(body, e, runs, true)
			if (err != nil) != tt.honouredFail || err == nil && fmt.Sprint(got.Failures) != tt.honoured {
				t.Errorf("%s, final %t: failures %v, %v, want %s", tt.body, final, got.Failures, err, tt.honoured)
			}
		}
	}
}

// TestResponseTypes reads what Lambda's own types write.
func TestResponseTypes(t *testing.T) {
	e, runs := envelope(), three(t)
	e.Window = window("")
	body, err := json.Marshal(events.KinesisTimeWindowEventResponse{
		TimeWindowEventResponseProperties: events.TimeWindowEventResponseProperties{State: map[string]string{"a": "1"}},
		BatchItemFailures:                 []events.KinesisBatchItemFailure{{ItemIdentifier: number(e, 2)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseReply(body, e, runs, true)
	if err != nil || string(got.State) != `{"a":"1"}` || fmt.Sprint(got.Failures) != "[2]" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseReply([]byte(failuresOf(e, runs)), envelope(), runs, true); err != nil || fmt.Sprint(got.Failures) != "[0 1 2]" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAggregates names the first of the user records that share a number.
func TestAggregates(t *testing.T) {
	e := envelope()
	var b record.Builder
	for _, counter := range []uint64{1, 2, 2, 2, 5} {
		if err := b.Append(record.Record{Sequence: record.MakeSequence(1, counter)}); err != nil {
			t.Fatal(err)
		}
	}
	body := `{"batchItemFailures":[{"itemIdentifier":"` + number(e, 4) + `"},{"itemIdentifier":"` + number(e, 1) + `"}]}`
	got, err := ParseReply([]byte(body), e, []record.Run{b.Run()}, true)
	if err != nil || fmt.Sprint(got.Failures) != "[1 4]" {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzReply has the parser agree with encoding/json about what a reply says.
func FuzzReply(f *testing.F) {
	e, runs := envelope(), three(f)
	for _, body := range []string{``, `""`, `[]`, `{"batchItemFailures":[{"itemIdentifier":"` + number(e, 1) + `"}],"state":{"a":1}}`, `{"state":null}`, `{"a":[{"b":"\\\""}]} `, `[1,"]"]`, `-1.5e3`} {
		f.Add(body, false)
		f.Add(body, true)
	}
	f.Fuzz(func(t *testing.T, body string, windowed bool) {
		e := e
		if windowed {
			e.Window = window("")
		}
		got, err := ParseReply([]byte(body), e, runs, true)
		if err != nil {
			return
		}
		var members map[string]json.RawMessage
		var list []any
		var text string
		switch {
		case json.Unmarshal([]byte(body), &members) == nil:
		case json.Unmarshal([]byte(body), &list) == nil && len(list) == 0, json.Unmarshal([]byte(body), &text) == nil && text == "", strings.Trim(body, " \t\r\n") == "":
		default:
			t.Fatalf("%q is taken as %+v", body, got)
		}
		if windowed && string(got.State) != string(members["state"]) {
			t.Fatalf("%q has the state %q, want %q", body, got.State, members["state"])
		}
		var items []map[string]json.RawMessage
		_ = json.Unmarshal(members["batchItemFailures"], &items)
		named := map[string]bool{}
		for _, item := range items {
			var id string
			_ = json.Unmarshal(item["itemIdentifier"], &id)
			named[id] = true
		}
		if len(named) != len(got.Failures) {
			t.Fatalf("%q names %v, read are %v", body, named, got.Failures)
		}
		for _, at := range got.Failures {
			if !named[number(e, at)] {
				t.Fatalf("%q does not name record %d", body, at)
			}
		}
	})
}
