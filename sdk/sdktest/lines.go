package sdktest

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk"
)

// maxLine is the longest line that Lines reads, in bytes.
const maxLine = 10 << 20

// Lines reads a file of newline-delimited JSON, gzipped if its name ends in .gz, into one record a line. The
// partition key is the string in the line's top-level member of that name. A file, line or member that is not there
// fails the test.
func Lines(t testing.TB, file, keyMember string) []sdk.Record {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatalf("sdktest: %v", err)
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			t.Fatalf("sdktest: %s: %v", file, err)
		}
	}
	var records []sdk.Record
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, maxLine)
	for scan.Scan() {
		var event map[string]any
		if err := json.Unmarshal(scan.Bytes(), &event); err != nil {
			t.Fatalf("sdktest: %s: line %d: %v", file, len(records)+1, err)
		}
		key, ok := event[keyMember].(string)
		if !ok {
			t.Fatalf("sdktest: %s: line %d has no string %q", file, len(records)+1, keyMember)
		}
		records = append(records, sdk.Record{Key: []byte(key), Data: []byte(scan.Text())})
	}
	if err := scan.Err(); err != nil {
		t.Fatalf("sdktest: %s: %v", file, err)
	}
	return records
}
