package main

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// step is one command line of a script, what it must come to, and patterns its outputs must match.
type step struct {
	line   string // split at spaces; 'quoted' words hold spaces
	stdin  string
	status int
	stdout string
	stderr string
}

// stepTime is how long one command line may take; building a function takes most.
const stepTime = 2 * time.Minute

func play(t *testing.T, h *host, replace map[string]string, steps []step) {
	t.Helper()
	for _, s := range steps {
		line := s.line
		for from, to := range replace {
			line = strings.ReplaceAll(line, from, to)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), stepTime, fmt.Errorf("%s has not ended in time", line))
		r := cli{stdin: s.stdin, env: endpoint(h)}.run(ctx, words(line)...)
		err := context.Cause(ctx)
		cancel()
		if err != nil {
			t.Fatalf("%v\nstdout: %s\nstderr: %s", err, r.stdout, r.stderr)
		}
		if r.status != s.status {
			t.Errorf("%s: status %d, want %d\nstdout: %s\nstderr: %s", line, r.status, s.status, r.stdout, r.stderr)
			continue
		}
		match(t, line+": stdout", r.stdout, s.stdout)
		match(t, line+": stderr", r.stderr, s.stderr)
		if s.status != exitOK {
			if first, _, _ := strings.Cut(r.stderr, "\n"); !strings.HasPrefix(first, "shardmill: ") {
				t.Errorf("%s: said %q", line, r.stderr)
			}
		}
	}
}

// match wants text to match pattern; an empty pattern wants empty text.
func match(t *testing.T, what, text, pattern string) {
	t.Helper()
	if pattern == "" && text != "" || !regexp.MustCompile("(?s)"+pattern).MatchString(text) {
		t.Errorf("%s: %q does not match %q", what, text, pattern)
	}
}

func words(line string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(line, -1) {
		out = append(out, m[1]+m[2])
	}
	return out
}

func TestStreamVerbs(t *testing.T) {
	t.Parallel()
	feed := filepath.Join(t.TempDir(), "events.ndjson")
	writeFile(t, feed, `{"k":"a","n":1}`+"\n"+`{"n":2}`+"\n"+`{"k":"b","n":3}`+"\n")
	play(t, testHost(t), map[string]string{"FEED": feed}, []step{
		{line: "stream list", stdout: `^NAME +STATUS +SHARDS +RETENTION +CREATED\n$`},
		{line: "stream list --output json"},
		{line: "stream create flights --shards 2", stdout: `Name: +flights\n.*Retention: +24h\n.*Shards: +2\n.*shardId-000000000000  open`},
		{line: "stream create flights --shards 2", stdout: `flights`},
		{line: "stream create flights --shards 3", status: exitFailure, stderr: `flights.*shards 2 .not 3.`},
		{line: "stream create 'odd name'", status: exitFailure, stderr: `name`},
		{line: "stream create many --shards 1001", status: exitFailure, stderr: `shards.*1000`},
		{line: "stream create short --retention 1m", status: exitFailure, stderr: `retention`},
		{line: "stream create week --retention 7d --max-record 2MiB --output json", stdout: `^{"name":"week".*"retention":"168h".*"maxRecordBytes":2097152`},
		{line: "stream create s --retention soon", status: exitUsage, stderr: `retention.*a duration`},
		{line: "stream list", stdout: `flights +active +2 +24h.*\nweek +active +1 +168h`},
		{line: "stream list --output json", stdout: `^{"name":"flights".*}\n{"name":"week".*}\n$`},
		{line: "stream describe flights --output json", stdout: `^{"name":"flights",.*"shards":\[{"id":"shardId-000000000000"`},
		{line: "stream describe none", status: exitFailure, stderr: `^shardmill: There is no stream "none"; "shardmill stream list" shows those there are\n$`},
		{line: "stream update week --retention 6d", stdout: `Retention: +144h
.*Largest record: +2MiB
`},
		{line: "stream update week --retention 7d --max-record 3MiB --output json", stdout: `^{"name":"week".*"retention":"168h".*"maxRecordBytes":3145728`},
		{line: "stream update week --retention 0s", status: exitUsage, stderr: `--retention is 0s; it must be 1h to 365d`},
		{line: "stream update week", status: exitUsage, stderr: `at least one setting`},
		{line: "stream update week --output json", status: exitUsage, stderr: `at least one setting`},
		{line: "stream update week --tag team=mill,empty= --limits aws", stdout: `Shard limits: +aws\n.*Tags: +empty=, team=mill\n`},
		{line: "stream update week --untag empty --limits none --mode on-demand", stdout: `Mode: +on-demand\nShard limits: +none\n.*Tags: +team=mill\n`},
		{line: "stream update week --mode odd", status: exitFailure, stderr: `mode is "odd"; it must be`},
		{line: "stream update week --mode provisioned", stdout: `Mode: +provisioned`},
		{line: "stream create tagged --tag a=b --limits aws --mode on-demand --output json", stdout: `"mode":"on-demand","limits":"aws","shardCount":4,"tags":{"a":"b"}`},
		{line: "stream delete tagged", stdout: `tagged deleted`},

		{line: "stream split flights 0", stdout: `shardId-000000000000 +closed +50.0%.*shardId-000000000002 +open +25.0%.*shardId-000000000000\n`},
		{line: "stream split flights 0", status: exitFailure, stderr: `shard is closed; "shardmill stream describe" shows`},
		{line: "stream split flights 9", status: exitFailure, stderr: `no shard "9"`},
		{line: "stream split flights 1 --at 5", status: exitFailure, stderr: `at is 5; it must be greater than`},
		{line: "stream split none 0", status: exitFailure, stderr: `no stream "none"`},
		{line: "stream merge flights 2 3", stdout: `shardId-000000000004 +open +50.0%`},
		{line: "stream merge flights 4 4", status: exitFailure, stderr: `.`},
		{line: "stream resize flights 4", stdout: `Shards: +4\n`},
		{line: "stream resize flights many", status: exitUsage, stderr: `SHARDS is "many"; it must be 1 to 1000`},
		{line: "stream resize flights 1001", status: exitFailure, stderr: `shards is 1001; it must be 1 to 1000`},
		{line: "stream update none --retention 2h", status: exitFailure, stderr: `none`},

		{line: "stream put week --partition-key DFW --data hello", stdout: `Shard: +shardId-000000000000\nSequence number: +[0-9]+\n`},
		{line: "stream put week --partition-key DFW --data {} --output json", stdout: `^{"shard":"shardId-000000000000","sequenceNumber":"[0-9]+"}\n$`},
		{line: "stream put none --partition-key DFW --data hello", status: exitFailure, stderr: `none`},
		{line: "stream put week --partition-key " + strings.Repeat("x", 257) + " --data hello", status: exitFailure, stderr: `partitionKey.*256`},
		{line: "stream put week FEED --key k", status: exitFailure, stdout: `^2 records put, 1 refused\n$`, stderr: `1 of 3 records were refused; the first is line 2`},
		{line: "stream put week --key k", stdin: `{"k":"c0"}`, stdout: `^1 record put, 0 refused\n$`},
		{line: "stream put week --key /k --output json", stdin: `{"k":"c"}`, stdout: `^{"put":1,"failed":0}\n$`},
		{line: "stream put week", status: exitUsage, stderr: `--key is needed`},
		{line: "stream put week --data x", status: exitUsage, stderr: `--partition-key`},
		{line: "stream put week FEED --partition-key a --data x", status: exitUsage, stderr: `use either`},
		{line: "stream put week none.ndjson --key k", status: exitFailure, stderr: `none.ndjson`},

		{line: "stream tail week --from oldest --follow=false", stdout: `shardId-000000000000  [0-9]+  DFW  hello\n.*DFW  {}\n.*a  {"k":"a","n":1}\n.*c  {"k":"c"}\n$`},
		{line: "stream tail week --from oldest --limit 1 --output json", stdout: `^{"shard":"shardId-000000000000","sequenceNumber":"[0-9]+","partitionKey":"DFW","arrival":"[^"]+","text":"hello"}\n$`},
		{line: "stream tail week --from 15m --limit 1", stdout: `DFW  hello\n$`},
		{line: "stream tail week --from oldest --limit 1 --deaggregate", stdout: `DFW  hello\n$`},
		{line: "stream tail week --from yesterday", status: exitUsage, stderr: `--from is "yesterday"; it must be oldest, newest, so long ago`},
		{line: "stream tail week --shard 7 --from oldest", status: exitFailure, stderr: `shard`},

		{line: "stream damage list week", stdout: `^no damage\n$`},
		{line: "stream damage list week --output json"},
		{line: "stream damage accept week shardId-000000000000", stdout: `^no damage\n$`},
		{line: "stream delete week", stdout: `stream week deleted`},
		{line: "stream delete week", status: exitFailure, stderr: `week`},
		{line: "stream delete flights --output json", stdout: `^{"deleted":"stream","name":"flights"}\n$`},
	})
}

func TestFunctionAndMappingVerbs(t *testing.T) {
	t.Parallel()
	wasm := filepath.Join(t.TempDir(), "delays.wasm")
	echo := sdkFunction(t, "echo", `package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnInvoke(func(_ context.Context, in []byte) ([]byte, error) {
		if string(in) == "panic" {
			panic("asked to")
		}
		if len(in) == 0 {
			fmt.Fprintln(os.Stderr, "an empty body came")
			return nil, errors.New("nothing to echo")
		}
		return append([]byte("echo "), in...), nil
	})
}

func main() {}
`)
	writeFile(t, filepath.Join(echo, manifestFile), "timeout: 7s\n")
	notWasm := filepath.Join(t.TempDir(), "x.wasm")
	writeFile(t, notWasm, "hello")
	files := map[string]string{"WASM": wasm, "DELAYS": delaysDir, "ECHO": echo, "FEED": flights, "NOTIT": notWasm, "KEY": signingKey(t)}
	play(t, testHost(t), files, []step{
		{line: "function build DELAYS -o WASM", stdout: `^built .*delays.wasm \([0-9.]+ MiB\) in`},
		{line: "function build DELAYS -o WASM --output json", stdout: `^{"file":".*delays.wasm","bytes":[0-9]+,"seconds":`},
		{line: "function deploy delays WASM --emit delays --memory 64MiB", stdout: `Version: +1\n.*Memory: +64MiB\n.*May emit to: +delays\n`, stderr: `^there is no stream "delays" yet: .*"shardmill stream create delays"\n$`},
		{line: "stream create delays", stdout: `delays`},
		{line: "function deploy delays WASM --emit delays --memory 64MiB", stdout: `Version: +1\n`},
		{line: "function deploy delays DELAYS", stdout: `Version: +2\n.*Memory: +128MiB\n.*May emit to: +delays\n`},
		{line: "function deploy delays WASM --timeout 1h", status: exitFailure, stderr: `timeout`},
		{line: "function deploy delays WASM --memory much", status: exitUsage, stderr: `memory.*a number of bytes`},
		{line: "function deploy delays WASM --sign KEY", status: exitFailure, stderr: `signature cannot be checked: the host has no trusted keys; it must be left out, or sent to a host`},
		{line: "function deploy delays WASM --idle-memory 1KiB", status: exitFailure, stderr: `idleMemory is 1024 bytes; it must be 1MiB to 1024GiB`},
		{line: "function deploy wrong NOTIT", status: exitFailure, stderr: `.`},
		{line: "function deploy gone none.wasm", status: exitFailure, stderr: `none.wasm`},
		{line: "function deploy zero /dev/zero", status: exitFailure, stderr: `^shardmill: code is "/dev/zero"; it must be a module of at most 67108864 bytes \(64 MiB\)\n$`},
		{line: "function deploy echo ECHO --output json", stdout: `^{"name":"echo","version":1,.*"timeout":"7s"`},
		{line: "function deploy echo ECHO --timeout 2s --idle-memory 64MiB", stdout: `Version: +2\n.*Timeout: +2s\n.*Idle memory: +64MiB\n`},
		{line: "function deploy later ECHO --fuel 100000000 --no-wait", stdout: `Version: +1\n.*State: +pending\n.*Fuel: +100,000,000 instr`},
		{line: "function invoke later waited", stdout: `^echo waited$`},
		{line: "function costs later", stdout: `^Calls: +1\n.*Fuel per call: +[0-9,]+\n$`},
		{line: "function delete later", stdout: `.`},
		{line: "function list", stdout: `^NAME +VERSION +STATE.*\ndelays +2 +active.*\necho +2 +active`},
		{line: "function describe delays", stdout: `VERSION +CALLS +FAILED +SIZE +DEPLOYED +DIGEST\n +2 .*sha256:.*\n +1 .*sha256:`},
		{line: "function describe none", status: exitFailure, stderr: `^shardmill: There is no function "none"; "shardmill function list" shows those there are\n$`},
		{line: "function invoke echo hello", stdout: `^echo hello$`},
		{line: "function invoke echo --file -", stdin: "from stdin", stdout: `^echo from stdin$`},
		{line: "function invoke echo", status: exitFailure, stderr: `nothing to echo`},
		{line: "function invoke echo panic", status: exitFailure, stderr: `^shardmill: Function echo version 2 failed \(error\): asked to; "shardmill function logs echo" shows what it wrote\n.*main\.go:[0-9]+`},
		{line: "function invoke echo hello --version 9", status: exitFailure, stderr: `version 9.*"shardmill function describe" shows`},
		{line: "__complete function invoke ''", stdout: `^delays\necho\n:4\n$`, stderr: `.`},
		{line: "__complete function deploy f x.wasm --emit ''", stdout: `^delays\n:4\n$`, stderr: `.`},
		{line: "function invoke echo x --file y", status: exitUsage, stderr: `not both`},
		{line: "function invoke delays x", status: exitFailure, stderr: `.`},
		{line: "function logs echo", stdout: `error  v2  \S+  an empty body came\n`},
		{line: "function logs echo --from 1h --output json", stdout: `^{"time":"[^"]+","function":"echo","version":2,"invocation":"[^"]+","level":"error","message":"an empty body came"}\n`},
		{line: "function logs echo --from whenever", status: exitUsage, stderr: `"whenever" is neither a time`},

		{line: "function invocations echo", stdout: `ok +v2 .* invoke\n.*error +v2 .* invoke  nothing to echo\n`},
		{line: "function invocations echo --failed --output json", stdout: `^{"id":"[^"]+","function":"echo",.*"outcome":"error","message":"nothing to echo"`},
		{line: "function invocations echo none", status: exitFailure, stderr: `No invocation "none".*"shardmill function invocations" shows`},
		{line: "function invocations echo none --failed", status: exitUsage, stderr: `not both`},
		{line: "function alias set echo prod --version 1 --canary 2 --share 0.5 --description 'what serves'", stdout: `^Name: +prod\nLeads to: +version 1, and 50 % of the calls to version 2\nDescription: +what serves\n$`},
		{line: "function alias set echo prod --version 1", stdout: `Leads to: +version 1\n`},
		{line: "function alias set echo prod --version 9", status: exitFailure, stderr: `no version 9; "shardmill function describe" shows`},
		{line: "function alias set echo prod --version 1 --canary 2 --share 1.5", status: exitUsage, stderr: `--share is 1.5; it must be 0 to 1`},
		{line: "function alias set echo 12", status: exitFailure, stderr: `alias is 12; it must be`},
		{line: "function invoke echo hello --alias prod", stdout: `^echo hello$`},
		{line: "function invoke echo hello --alias none", status: exitFailure, stderr: `no alias "none"; "shardmill function describe" shows`},
		{line: "function invoke echo hello --alias prod --version 1", status: exitUsage, stderr: `not both`},
		{line: "function describe echo", stdout: `\n +2 +[1-9][0-9]* +[1-9].*\n +1 +1 +0 .*ALIAS +LEADS TO +DESCRIPTION\nprod +version 1`},
		{line: "function delete echo --version 1", status: exitFailure, stderr: `in use: an alias leads to it`},
		{line: "function rollback echo 1", stdout: `Version: +3\n.*Timeout: +7s\n`},
		{line: "function rollback echo prod", status: exitUsage, stderr: `VERSION is "prod"; it must be the number`},
		{line: "function rollback echo 9", status: exitFailure, stderr: `no version 9`},
		{line: "function reserve echo 0", stdout: `Reserved: +0 calls at once`},
		{line: "function invoke echo hello", status: exitFailure, stderr: `reserved concurrency is 0: it does not run until that is raised or removed; "shardmill function reserve" does that`},
		{line: "function reserve echo none", stdout: `Reserved: +no bound`},
		{line: "function reserve echo many", status: exitUsage, stderr: `CALLS is "many"; it must be 0 to 1000, or none`},
		{line: "function download delays -o WASM.got", stdout: `^wrote .*delays.wasm.got \([0-9.]+ MiB, sha256:[0-9a-f]{64}\)\n$`},
		{line: "function download delays --version 9 -o WASM.got", status: exitFailure, stderr: `no version 9`},
		{line: "function alias delete echo prod", stdout: `alias prod deleted`},
		{line: "function alias delete echo prod", status: exitFailure, stderr: `no alias "prod"`},
		{line: "function delete echo --version 1", stdout: `version 1 deleted`},

		{line: "stream create flights --shards 2", stdout: `flights`},
		{line: "mapping create m --stream flights", status: exitUsage, stderr: `--function`},
		{line: "mapping create m --stream flights --function none", status: exitFailure, stderr: `none`},
		{line: "mapping create m --stream none --function delays", status: exitFailure, stderr: `none`},
		{line: "mapping create m --stream flights --function delays --batch-size -1", status: exitUsage, stderr: `--batch-size is -1; it must be`},
		{line: "mapping create m --stream flights --function delays --batch-size 50", stdout: `State: +enabled\n.*Batch size: +50\n.*Attempts: +without limit`},
		{line: "mapping update m --max-attempts 3 --batch-window 1s", stdout: `Batch size: +50\nBatch window: +1s\n.*Attempts: +3`},
		{line: "mapping update m", status: exitUsage, stderr: `at least one setting`},
		{line: "mapping update none --batch-size 1", status: exitFailure, stderr: `^shardmill: There is no mapping "none"; "shardmill mapping list" shows those there are\n$`},
		{line: "mapping list", stdout: `^NAME +STREAM.*\nm +flights +delays +50 +enabled`},
		{line: "stream put flights FEED --key origin", stdout: `^20,000 records put, 0 refused\n$`},
		{line: "stream tail delays --from oldest --limit 1 --output json", stdout: `"json":{"origin":"[A-Z]+","flights":`},
		{line: "mapping describe m", stdout: `SHARD +STATE +CHECKPOINT.*GIVEN UP.*shardId-000000000000`},
		{line: "mapping describe m --output json", stdout: `^{"name":"m",.*"stream":"flights".*"shards":\[{"shard":"shardId-000000000000"`},
		{line: "mapping pause m", stdout: `State: +disabled`},
		{line: "mapping seek m --to oldest", stdout: `State: +disabled`},
		{line: "mapping create m --stream flights --function delays --batch-size 50", stdout: `State: +disabled\n.*Batch size: +50\n`},
		{line: "mapping update m --filter {\"data\":{\"origin\":[\"DFW\"]}} --bisect --tag team=x --parallelization 4", stdout: `Lanes: +4\nTumbling window: +none\n.*Filters: +{"data".*On failure: +halve the batch\nCapsules: +none\nTags: +team=x`},
		{line: "mapping update m --tag owner=y", stdout: `Tags: +owner=y, team=x`},
		{line: "mapping update m --untag owner", stdout: `Tags: +team=x`},
		{line: "mapping update m --filter {}x", status: exitFailure, stderr: `filters\[0\] is`},
		{line: "mapping update m --tumbling-window 1m", status: exitFailure, stderr: `parallelization is 4; it must be 1 with`},
		{line: "mapping update m --parallelization 1 --tumbling-window 1m", status: exitFailure, stderr: `handles the end of a window`},
		{line: "mapping resume m", stdout: `State: +enabled`},
		{line: "mapping seek m", status: exitUsage, stderr: `--to is needed`},
		{line: "mapping seek m --to someday", status: exitUsage, stderr: `someday`},
		{line: "mapping seek m --to 5", status: exitFailure, stderr: `shard is`},
		{line: "mapping seek m --to 49680438063951910266176797533386086181730764413791633410", status: exitFailure, stderr: `sequence is 4968[0-9]+; it must be a sequence number of the stream`},
		{line: "mapping seek none --to oldest", status: exitFailure, stderr: `There is no mapping "none"`},
		{line: "mapping seek m --to 1h --shard shardId-000000000001", stdout: `State: +enabled`},
		{line: "mapping update m --qualifier 1", stdout: `delays.*1`},
		{line: "mapping promote m", status: exitFailure, stderr: `the mapping has no shadow; "shardmill mapping shadow set" makes one`},
		{line: "mapping shadow describe m", status: exitFailure, stderr: `has no shadow`},
		{line: "mapping shadow set m", status: exitUsage, stderr: `needs --qualifier or --function`},
		{line: "mapping shadow set m --qualifier 9", status: exitFailure, stderr: `qualifier is 9; it must be`},
		{line: "mapping shadow set m --qualifier 1", status: exitFailure, stderr: `qualifier is 1; it must be another version`},
		{line: "mapping shadow set m --qualifier 2 --starting-time someday", status: exitUsage, stderr: `someday`},
		{line: "mapping shadow set none --qualifier 2", status: exitFailure, stderr: `There is no mapping "none"`},
		{line: "mapping shadow set m --function delays --starting-position oldest", stdout: `Shadow of: +m\nID: .*Function: +delays\n.*Identical: +100.00 % of [0-9,]+ results\n.* +SERVING +SHADOW\nversion.*\nfuel per record .*SHARD +STATE`},
		{line: "mapping shadow describe m --output json", stdout: `^{"id":".*"serving":{.*"shadow":{.*"shards":\[{"shard":"shardId-000000000000"`},
		{line: "mapping describe m", stdout: `Shadow: +delays: 100.00 % identical`},
		{line: "mapping promote m --shadow another", status: exitFailure, stderr: `its shadow is another one than another by now`},
		{line: "mapping shadow delete m", stdout: `shadow of mapping m deleted`},
		{line: "mapping shadow delete m", status: exitFailure, stderr: `has no shadow`},
		{line: "function delete delays --version 1", status: exitFailure, stderr: `Version 1 of function "delays" is used by the mapping "m"`},
		{line: "function delete delays --version 1 --force", stdout: `version 1 deleted`},
		{line: "function delete delays", status: exitFailure, stderr: `used by the mapping "m".*--force`},
		{line: "mapping update m --qualifier $LATEST", stdout: `.`},
		{line: "mapping update m --qualifier 9", status: exitFailure, stderr: `qualifier is 9; it must be`},
		{line: "mapping update m --filter=", stdout: `Filters: +none`},
		{line: "mapping delete m", stdout: `mapping m deleted`},
		{line: "mapping delete m", status: exitFailure, stderr: `m`},
		{line: "function delete echo", stdout: `function echo deleted`},
		{line: "function invoke echo hello", status: exitFailure, stderr: `echo`},
	})
}

func TestUsage(t *testing.T) {
	tests := []struct {
		line   string
		status int
		stdout string
		stderr string
	}{
		{"", exitOK, `Usage:`, ``},
		{"--help", exitOK, `Usage:`, ``},
		{"stream --help", exitOK, `Available Commands:.*create`, ``},
		{"sreve", exitUsage, ``, `^shardmill: shardmill has no verb "sreve"; did you mean serve\?\nRun 'shardmill --help' for how to use it.\n$`},
		{"stream", exitUsage, ``, `stream needs a verb: create,`},
		{"stream make", exitUsage, ``, `stream has no verb "make"; it has create,`},
		{"completion fish x", exitUsage, ``, `takes no argument "x"`},
		{"completion", exitUsage, ``, `^shardmill: shardmill completion needs a verb: bash, fish`},
		{"completion csh", exitUsage, ``, `^shardmill: shardmill completion has no verb "csh"`},
		{"help nope", exitUsage, ``, `^shardmill: shardmill has no verb "nope"; it has agent, bench,`},
		{"help stream nope", exitUsage, ``, `^shardmill: shardmill stream has no verb "nope"; it has create,`},
		{"help stream create", exitOK, `shardmill stream create NAME`, ``},
		{"__complete --endpoint http://127.0.0.1:1 stream describe ''", exitOK, `^:4\n$`, `.`},
		{"function deploy f /nope.wasm", exitFailure, ``, `^shardmill: /nope.wasm: no such file or directory\n$`},
		{"frobnicate", exitUsage, ``, `has no verb "frobnicate"; it has agent, bench,`},
		{"stream create", exitUsage, ``, `^shardmill: shardmill stream create needs NAME: shardmill stream create NAME \[flags\]\n`},
		{"stream create a b", exitUsage, ``, `takes no argument "b"`},
		{"function describe ''", exitUsage, ``, `^shardmill: NAME is empty: shardmill function describe NAME \[flags\]\n`},
		{"state delete t ''", exitUsage, ``, `^shardmill: KEY is empty: `},
		{"stream create a --shards many", exitUsage, ``, `--shards is "many"; it must be 1 to 1000\n`},
		{"stream create a --shards 0", exitUsage, ``, `--shards is 0; it must be 1 to 1000\n`},
		{"stream create a --retention 0s", exitUsage, ``, `--retention is 0s; it must be 1h to 365d\n`},
		{"stream create a --max-record 0", exitUsage, ``, `--max-record is 0; it must be 1KiB to 10MiB\n`},
		{"stream create a --shard 4", exitUsage, ``, `^shardmill: shardmill stream create has no flag --shard\n`},
		{"stream create a -x", exitUsage, ``, `has no flag -x\n`},
		{"stream create a --shards", exitUsage, ``, `^shardmill: --shards needs a value\n`},
		{"stream tail a --follow=maybe", exitUsage, ``, `--follow is "maybe"; it must be true or false\n`},
		{"stream tail a --limit -1", exitUsage, ``, `--limit is -1; it must be 0`},
		{"stream create a --tag x", exitUsage, ``, `--tag is "x"; it must be KEY=VALUE\n`},
		{"dev . --stream s --secret x", exitUsage, ``, `--secret is "x"; it must be NAME=FILE\n`},
		{"dev dev.go --stream s", exitUsage, ``, `^shardmill: dev.go is a file; give the folder it is in\n`},
		{"dev . --stream s --shards 1001", exitUsage, ``, `--shards is 1001; it must be 1 to 1000\n`},
		{"serve --drain soon", exitUsage, ``, `--drain is "soon"; it must be a duration`},
		{"mapping create m --stream s --function f --batch-size 0", exitUsage, ``, `--batch-size is 0; it must be 1 to 10000 records\n`},
		{"function deploy f x.wasm --timeout 0s", exitUsage, ``, `--timeout is 0s; it must be 1ms to 15m\n`},
		{"stream list --output yaml", exitUsage, ``, `--output is "yaml"; it can be table or json`},
		{"stream list --endpoint ftp://localhost:4780", exitUsage, ``, `--endpoint is "ftp`},
		{"stream list --endpoint http://127.0.0.1:1", exitFailure, ``, `127.0.0.1:1.*shardmill serve`},
		{"version", exitOK, `^shardmill \S+ \(go1`, ``},
		{"version --output json", exitOK, `^{"version":"[^"]+".*"go":"go1`, ``},
		{"version now", exitUsage, ``, `now`},
		{"completion bash", exitOK, `shardmill`, ``},
		{"completion zsh", exitOK, `shardmill`, ``},
	}
	for _, tt := range tests {
		r := cli{}.run(t.Context(), words(tt.line)...)
		if r.status != tt.status {
			t.Errorf("%q: status %d, want %d: %s", tt.line, r.status, tt.status, r.stderr)
		}
		match(t, tt.line+": stdout", r.stdout, tt.stdout)
		match(t, tt.line+": stderr", r.stderr, tt.stderr)
	}
}

func TestKeyPointer(t *testing.T) {
	for key, want := range map[string]string{"origin": "/origin", "/a/b": "/a/b", "a/b": "/a~1b", "~": "/~0", "": "", "/": "/"} {
		if got := keyPointer(key); got != want {
			t.Errorf("keyPointer(%q) = %q, want %q", key, got, want)
		}
	}
}
