package main

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/shardmill/shardmill/sdk/sdktest"
)

func TestMember(t *testing.T) {
	for data, want := range map[string]string{
		`{"delay":5}`:                         `5`,
		`{"a":1,"delay":-5,"b":2}`:            `-5`,
		`{ "delay" : "late" , "b":2}`:         `"late"`,
		`{"x":"\"delay\":1","delay":2}`:       `2`,
		`{"x":{"delay":1},"delay":2}`:         `2`,
		`{"x":[{"delay":1},"}{"],"delay":2}`:  `2`,
		`{"delay":"a\"b,}"}`:                  `"a\"b,}"`,
		`{"x":"delay","y":"delay","delay":1}`: `1`,
		`{"x":{"delay":1}}`:                   ``,
		`{"delays":1}`:                        ``,
		`{"delay":`:                           ``,
		`{"delay":5`:                          ``,
		`{"delay":"la`:                        ``,
		`{"delay`:                             ``,
		`{"delay"`:                            ``,
		`{"delay\`:                            ``,
		`["delay",1]`:                         ``,
		`"delay":1`:                           ``,
		``:                                    ``,
	} {
		if got := string(member([]byte(data), "delay")); got != want {
			t.Errorf("%s: %q, want %q", data, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for value, want := range map[string]string{
		`"DFW"`: "DFW", `"Zürich"`: "Zürich", `""`: "", `"`: "", ``: "", `12345`: "", `null`: "", `"a\nb"`: "", "\"a\nb\"": "",
	} {
		if got, ok := text([]byte(value)); string(got) != want || ok != (want != "") {
			t.Errorf("%s: %q, %v; want %q", value, got, ok, want)
		}
	}
}

// On every real flight it finds what encoding/json finds.
func TestMemberAgreesWithEncodingJSON(t *testing.T) {
	for _, r := range sdktest.Lines(t, flights, "origin") {
		var want struct {
			Origin string
			Delay  int
		}
		if err := json.Unmarshal(r.Data, &want); err != nil {
			t.Fatal(err)
		}
		origin, ok := text(member(r.Data, "origin"))
		delay, err := strconv.Atoi(string(member(r.Data, "delay")))
		if !ok || err != nil || string(origin) != want.Origin || delay != want.Delay {
			t.Fatalf("%s: origin %q, delay %d", r.Data, origin, delay)
		}
	}
}

func FuzzMember(f *testing.F) {
	f.Add([]byte(`{"date":"2001/01/01 00:47","delay":66,"origin":"DTW"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		value, _ := text(member(data, "origin"))
		if json.Valid(data) && len(value) > 0 && !json.Valid(total{origin: string(value)}.appendJSON(nil)) {
			t.Errorf("%q is not JSON any more", value)
		}
	})
}
