//go:build conformance

package conformance

import (
	"cmp"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// quiet has the Java libraries log what goes wrong, and no more.
const quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"

// records is how many are put in each of two halves; the stream is resharded between them.
const records = 20_000

// TestProducerAndClientLibrary puts aggregated records with KPL and reads all of them with KCL, across a split and a worker's death.
func TestProducerAndClientLibrary(t *testing.T) {
	java := need(t, "java")
	classpath, err := os.ReadFile(need(t, "java/target/classpath"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CLASSPATH", "java/target/classes:"+strings.TrimSpace(string(classpath)))
	k := libraries{
		java: java,
		host: startHost(t, true),
		// KCL keeps its leases in DynamoDB.
		dynamo: startServer(t, need(t, ".venv/bin/moto_server"), "--host", "127.0.0.1", "--port"),
	}
	for _, retrieval := range []string{"polling", "fanout"} {
		t.Run(retrieval, func(t *testing.T) { k.check(t, retrieval) })
	}
}

type libraries struct {
	java         string // the command
	host, dynamo string // URLs
}

func (k libraries) check(t *testing.T, retrieval string) {
	aws := need(t, ".venv/bin/aws")
	stream := "library-" + retrieval
	cli := func(args ...string) {
		t.Helper()
		run(t, 30*time.Second, aws, append([]string{"kinesis", "--no-verify-ssl", "--endpoint-url", k.host}, args...)...)
	}
	cli("create-stream", "--stream-name", stream, "--shard-count", "2")
	dir := t.TempDir()
	first := k.consume(t, stream, "one", retrieval, filepath.Join(dir, "one"))
	k.produce(t, stream, 0)
	waitFor(t, "some records in the first worker", func() bool { return len(readAll(t, dir)) > records/4 })
	cli("split-shard", "--stream-name", stream, "--shard-to-split", "shardId-000000000000", "--new-starting-hash-key", new(big.Int).Lsh(big.NewInt(1), 126).String())
	k.produce(t, stream, records)
	first.Process.Kill()
	k.consume(t, stream, "two", retrieval, filepath.Join(dir, "two"))
	waitFor(t, fmt.Sprintf("all %d records in the two workers", 2*records), func() bool { return len(readAll(t, dir)) == 2*records })
	checkOrder(t, dir)
}

func (k libraries) produce(t *testing.T, stream string, first int) {
	t.Helper()
	u, err := url.Parse(k.host)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(run(t, 2*time.Minute, k.java, quiet, "conformance.Produce", u.Port(), stream, fmt.Sprint(first), fmt.Sprint(records)))
}

// consume starts a worker, which is killed when the test ends.
func (k libraries) consume(t *testing.T, stream, worker, retrieval, file string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(k.java, quiet, "conformance.Consume", k.host, k.dynamo, stream, "app-"+retrieval, worker, retrieval, file)
	log, err := os.Create(file + ".log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
		if b, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("worker %s said:\n%s", worker, b[max(0, len(b)-4000):])
		}
	})
	return cmd
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); !done(); time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatalf("no %s in three minutes", what)
		}
	}
}

// line is one record as a worker wrote it.
type line struct {
	shard    string
	sequence *big.Int
	sub      int64
	key      string
	data     int
}

func readLines(t *testing.T, file string) (lines []line) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, text := range strings.SplitAfter(string(b), "\n") {
		var l line
		var sequence string
		if !strings.HasSuffix(text, "\n") || strings.HasPrefix(text, "end ") {
			continue // cut off by a kill, or a shard's end
		}
		if _, err := fmt.Sscan(text, &l.shard, &sequence, &l.sub, &l.key, &l.data); err != nil {
			t.Fatalf("%s has the line %q: %v", file, text, err)
		}
		l.sequence, _ = new(big.Int).SetString(sequence, 10)
		lines = append(lines, l)
	}
	return lines
}

// readAll is the set of records that the workers have seen, by their data.
func readAll(t *testing.T, dir string) map[int]bool {
	seen := map[int]bool{}
	for _, worker := range []string{"one", "two"} {
		for _, l := range readLines(t, filepath.Join(dir, worker)) {
			seen[l.data] = true
		}
	}
	return seen
}

// checkOrder holds that each record was in the shard of its key, and each worker saw the records of a shard in order.
func checkOrder(t *testing.T, dir string) {
	t.Helper()
	for _, worker := range []string{"one", "two"} {
		lines := readLines(t, filepath.Join(dir, worker))
		slices.SortStableFunc(lines, func(a, b line) int { return strings.Compare(a.shard, b.shard) })
		for i, l := range lines {
			if l.key != fmt.Sprintf("key-%d", l.data%100) {
				t.Errorf("record %d came with the key %s", l.data, l.key)
			}
			if i == 0 || lines[i-1].shard != l.shard {
				continue
			}
			before := lines[i-1]
			if c := cmp.Or(before.sequence.Cmp(l.sequence), cmp.Compare(before.sub, l.sub)); c >= 0 {
				t.Errorf("worker %s saw %v of %s behind %v", worker, l.sequence, l.shard, before.sequence)
			}
		}
	}
}
