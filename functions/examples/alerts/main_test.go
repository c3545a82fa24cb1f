package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/sdktest"
)

var update = flag.Bool("update", false, "write the golden file")

func settings(t *testing.T) {
	t.Setenv("MAGNITUDE", "4.5")
	t.Setenv("WEBHOOK", "http://hooks.example/alerts")
}

// The strong ones of 300 earthquakes are posted, each with its id.
func TestAlertsOfRealEarthquakes(t *testing.T) {
	settings(t)
	var got bytes.Buffer
	c := sdktest.Call{Fetch: func(r *sdk.Request) (*sdk.Response, error) {
		fmt.Fprintf(&got, "%s %s %s %s\n", r.Method, r.URL, r.Header[1].Value, r.Body)
		return &sdk.Response{Status: 204}, nil
	}}
	for batch := range slices.Chunk(sdktest.Lines(t, "testdata/earthquakes.ndjson.gz", "net"), 100) {
		if res := c.Batch(t, alerts, batch...); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	const golden = "testdata/alerts.golden"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
	}
}

func TestWhatAnswersMean(t *testing.T) {
	settings(t)
	quake := sdk.Record{Data: []byte(`{"id":"a","title":"M 5","mag":5}`)}
	for want, fetch := range map[string]func(*sdk.Request) (*sdk.Response, error){
		"ok":                                 func(*sdk.Request) (*sdk.Response, error) { return &sdk.Response{Status: 200}, nil },
		"retry: the webhook answers 503":     func(*sdk.Request) (*sdk.Response, error) { return &sdk.Response{Status: 503}, nil },
		"retry: the webhook answers 429":     func(*sdk.Request) (*sdk.Response, error) { return &sdk.Response{Status: 429}, nil },
		"rejected: the webhook answers 404":  func(*sdk.Request) (*sdk.Response, error) { return &sdk.Response{Status: 404}, nil },
		"retry: the webhook does not answer": func(*sdk.Request) (*sdk.Response, error) { return nil, sdk.ErrUnavailable },
	} {
		res := sdktest.Call{Fetch: fetch}.Batch(t, alerts, quake, sdk.Record{Data: []byte("x")}, sdk.Record{Data: []byte(`{"id":"b","mag":1}`)})
		if got := fmt.Sprint(res.Outcomes); res.Err != nil || got != "["+want+" rejected: not an earthquake ok]" {
			t.Errorf("%s: %s, %v", want, got, res.Err)
		}
	}
	if res := sdktest.Batch(t, alerts, quake); res.Err == nil {
		t.Error("a server that is not granted was called")
	}
	t.Setenv("MAGNITUDE", "strong")
	if res := sdktest.Batch(t, alerts, quake); res.Err == nil {
		t.Error("a magnitude that is no number was taken")
	}
}
