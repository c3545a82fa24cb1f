//go:build conformance

package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTmp(t *testing.T) {
	java := need(t, "java")
	classpath, err := os.ReadFile(need(t, "java/target/classpath"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CLASSPATH", "java/target/classes:"+strings.TrimSpace(string(classpath)))
	k := libraries{
		java:   java,
		host:   startHost(t, true),
		dynamo: startServer(t, need(t, ".venv/bin/moto_server"), "--host", "127.0.0.1", "--port"),
	}
	dir := t.TempDir()
	aws := need(t, ".venv/bin/aws")
	for _, r := range []string{"polling", "fanout"} {
		run(t, 30e9, aws, "kinesis", "--no-verify-ssl", "--endpoint-url", k.host, "create-stream", "--stream-name", "s"+r, "--shard-count", "2")
		os.Mkdir(filepath.Join(dir, r), 0o777)
		k.consume(t, "s"+r, "one", r, filepath.Join(dir, r, "one"))
		k.produce(t, "s"+r, 0)
		waitFor(t, "some records in the first worker", func() bool {
			t.Log(len(readAll(t, filepath.Join(dir, r))))
			return len(readAll(t, filepath.Join(dir, r))) == records
		})
		checkOrder(t, filepath.Join(dir, r))
	}
}
