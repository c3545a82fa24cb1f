package aws

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/shardmill/shardmill/runtime"
)

const testRole = "arn:aws:iam::000000000000:role/r"

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// createFunction makes one of a guest.
func (l *lambdaRig) createFunction(name string, g guest, change func(*awslambda.CreateFunctionInput)) *awslambda.CreateFunctionOutput {
	l.t.Helper()
	in := &awslambda.CreateFunctionInput{FunctionName: &name, Role: aws.String(testRole), Code: &types.FunctionCode{ZipFile: g.module()}}
	if change != nil {
		change(in)
	}
	made := ok(l.lambda.CreateFunction(l.ctx, in))(l.t)
	l.updated(name)
	return made
}

// updated waits until what was uploaded last serves, as clients of Lambda do, and returns the function.
func (l *lambdaRig) updated(name string) *types.FunctionConfiguration {
	l.t.Helper()
	in := &awslambda.GetFunctionInput{FunctionName: &name}
	quick := func(o *awslambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	}
	got := ok(awslambda.NewFunctionUpdatedV2Waiter(l.lambda).WaitForOutput(l.ctx, in, time.Minute, quick))(l.t)
	return got.Configuration
}

// TestFunctionLife makes a function of a zip, looks at it, changes it, and deletes it.
func TestFunctionLife(t *testing.T) {
	l := newLambdaRig(t)
	code := zipped(t, map[string][]byte{"dir/main.wasm": guest{body: `"one"`}.module(), "README": []byte("hello")})
	made := l.createFunction("f", guest{}, func(in *awslambda.CreateFunctionInput) {
		in.Code.ZipFile, in.Runtime, in.Handler, in.Description = code, types.RuntimeProvidedal2023, aws.String("main"), aws.String("does it")
		in.Timeout, in.MemorySize, in.Tags, in.Architectures = aws.Int32(7), aws.Int32(256), map[string]string{"team": "red"}, []types.Architecture{types.ArchitectureArm64}
		in.Environment = &types.Environment{Variables: map[string]string{"LEVEL": "debug"}}
		in.TracingConfig, in.EphemeralStorage = &types.TracingConfig{Mode: types.TracingModePassThrough}, &types.EphemeralStorage{Size: aws.Int32(512)}
	})
	if *made.FunctionName != "f" || *made.FunctionArn != lambdaARN+"function:f" || *made.Role != testRole || *made.Handler != "main" || *made.Description != "does it" ||
		*made.Timeout != 7 || *made.MemorySize != 256 || made.Runtime != types.RuntimeProvidedal2023 || made.State != types.StatePending || made.StateReasonCode != types.StateReasonCodeCreating || *made.Version != "$LATEST" ||
		made.LastUpdateStatus != types.LastUpdateStatusInProgress || made.PackageType != types.PackageTypeZip || made.CodeSize != int64(len(code)) || *made.CodeSha256 != sha(code) ||
		made.Architectures[0] != types.ArchitectureArm64 || made.Environment.Variables["LEVEL"] != "debug" || *made.RevisionId == "" {
		t.Errorf("made %+v", made)
	}
	if at := ok(time.Parse("2006-01-02T15:04:05.000-0700", *made.LastModified))(t); time.Since(at) > time.Minute {
		t.Errorf("modified %s", *made.LastModified)
	}
	got := ok(l.lambda.GetFunction(l.ctx, &awslambda.GetFunctionInput{FunctionName: aws.String("000000000000:function:f")}))(t)
	if *got.Configuration.RevisionId != *made.RevisionId || got.Tags["team"] != "red" || got.Concurrency != nil || !strings.HasPrefix(*got.Code.Location, l.url+"/v1/functions/f/code?version=1") {
		t.Errorf("got %+v, %+v", got, got.Code)
	}
	if native := ok(l.functions.Get("f"))(t); native.Config.Timeout != 7*time.Second || native.Config.MemoryBytes != 256<<20 {
		t.Errorf("natively %+v", native.Config)
	}

	for function, want := range map[string]string{"f": testRole, "g": "arn:aws:iam::000000000000:role/shardmill"} {
		if got := RoleARN(l.handler.settings, DefaultAccount, function); got != want {
			t.Errorf("%s has the role %s, want %s", function, got, want)
		}
	}
	// New settings, of which some make a version and some do not.
	changed := ok(l.lambda.UpdateFunctionConfiguration(l.ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Description: aws.String("did it"), RevisionId: made.RevisionId}))(t)
	if *changed.Description != "did it" || *changed.Handler != "main" || *changed.RevisionId == *made.RevisionId || ok(l.functions.Get("f"))(t).Version != 1 {
		t.Errorf("changed to %+v", changed)
	}
	changed = ok(l.lambda.UpdateFunctionConfiguration(l.ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Timeout: aws.Int32(9), MemorySize: aws.Int32(128)}))(t)
	if *changed.Timeout != 9 || *changed.MemorySize != 128 || changed.Environment.Variables["LEVEL"] != "debug" || *changed.CodeSha256 != sha(code) || changed.LastUpdateStatus != types.LastUpdateStatusInProgress || changed.State != types.StateActive {
		t.Errorf("changed to %+v", changed)
	}
	if now := l.updated("f"); *now.Timeout != 9 || *now.RevisionId != *changed.RevisionId || now.State != types.StateActive || ok(l.functions.Get("f"))(t).Version != 2 {
		t.Errorf("updated to %+v", now)
	}
	changed = ok(l.lambda.UpdateFunctionConfiguration(l.ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Environment: &types.Environment{}}))(t)
	if changed.Environment != nil || *changed.Timeout != 9 {
		t.Errorf("changed to %+v", changed)
	}
	l.updated("f")
	_, err := l.lambda.UpdateFunctionConfiguration(l.ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), RevisionId: made.RevisionId})
	refusedWith[*types.PreconditionFailedException](t, err, 412, "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id")

	// New code, whose grants stay.
	_, err = l.functions.Deploy(l.ctx, "f", guest{body: `"native"`}.module(), runtime.Config{Timeout: 9 * time.Second, Emit: []string{"out"}, Concurrency: 3})
	l.must(err)
	raw := guest{body: `"two"`}.module()
	tried := ok(l.lambda.UpdateFunctionCode(l.ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: raw, DryRun: true}))(t)
	if *tried.CodeSha256 == sha(raw) {
		t.Error("a dry run has changed the code")
	}
	updated := ok(l.lambda.UpdateFunctionCode(l.ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: raw, Publish: true}))(t)
	if *updated.CodeSha256 != sha(raw) || updated.CodeSize != int64(len(raw)) || *updated.Version != "5" || *updated.FunctionArn != lambdaARN+"function:f:5" {
		t.Errorf("updated %+v", updated)
	}
	ok(l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: aws.String("f"), Name: aws.String("prod"), FunctionVersion: updated.Version}))(t) // at once
	l.updated("f")
	if native := ok(l.functions.Get("f"))(t); native.Config.Emit[0] != "out" || native.Config.Concurrency != 3 {
		t.Errorf("natively %+v", native.Config)
	}

	ok(l.lambda.DeleteFunction(l.ctx, &awslambda.DeleteFunctionInput{FunctionName: aws.String("f")}))(t)
	_, err = l.lambda.GetFunction(l.ctx, &awslambda.GetFunctionInput{FunctionName: aws.String("f")})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "Function not found: "+lambdaARN+"function:f")
	l.createFunction("h", guest{}, func(in *awslambda.CreateFunctionInput) { in.Description = aws.String("the first h") })
	l.must(l.functions.Delete(l.ctx, "h")) // natively, which leaves the record behind
	l.function("h", guest{})
	if got := ok(l.lambda.GetFunctionConfiguration(l.ctx, &awslambda.GetFunctionConfigurationInput{FunctionName: aws.String("h")}))(t); *got.Description != "" {
		t.Errorf("another function of the name is described as %q", *got.Description)
	}
	again := l.createFunction("f", guest{}, nil)
	if *again.Description != "" || *again.Timeout != 3 || *again.MemorySize != 128 {
		t.Errorf("made anew with %+v", again)
	}
}

// TestFunctionWaiter has the SDK's own waiters tell when a function is compiled.
func TestFunctionWaiter(t *testing.T) {
	l := newLambdaRig(t)
	ok(l.lambda.CreateFunction(l.ctx, &awslambda.CreateFunctionInput{FunctionName: aws.String("f"), Role: aws.String(testRole), Code: &types.FunctionCode{ZipFile: guest{}.module()}}))(t)
	quick := func(o *awslambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	}
	l.must(awslambda.NewFunctionActiveV2Waiter(l.lambda).Wait(l.ctx, &awslambda.GetFunctionInput{FunctionName: aws.String("f")}, time.Minute, quick))
	if got := l.updated("f"); got.LastUpdateStatus != types.LastUpdateStatusSuccessful || got.State != types.StateActive || got.StateReason != nil {
		t.Errorf("compiled: %+v", got)
	}
}

// TestFunctionFails uploads what only the compiler refuses: the version before serves, and clients are told.
func TestFunctionFails(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{body: `"old"`}, nil)
	broken := guest{raw: []byte{0x6a}}.module() // an addition of nothing
	ok(l.lambda.UpdateFunctionCode(l.ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: broken}))(t)
	ok(l.lambda.CreateFunction(l.ctx, &awslambda.CreateFunctionInput{FunctionName: aws.String("g"), Role: aws.String(testRole), Code: &types.FunctionCode{ZipFile: broken}}))(t)
	state := func(name string) *awslambda.GetFunctionConfigurationOutput {
		for {
			got := ok(l.lambda.GetFunctionConfiguration(l.ctx, &awslambda.GetFunctionConfigurationInput{FunctionName: &name}))(t)
			if got.LastUpdateStatus != types.LastUpdateStatusInProgress {
				return got
			}
		}
	}
	if got := state("f"); got.State != types.StateActive || got.LastUpdateStatus != types.LastUpdateStatusFailed || !strings.Contains(*got.LastUpdateStatusReason, "does not compile") || *got.CodeSha256 != sha(guest{body: `"old"`}.module()) {
		t.Errorf("an update that fails: %+v", got)
	}
	if got := ok(l.lambda.Invoke(l.ctx, &awslambda.InvokeInput{FunctionName: aws.String("f")}))(t); string(got.Payload) != `"old"` {
		t.Errorf("the old version answers %s", got.Payload)
	}
	if got := state("g"); got.State != types.StateFailed || !strings.Contains(*got.StateReason, "does not compile") {
		t.Errorf("a first version that fails: %+v", got)
	}
	changed := ok(l.lambda.UpdateFunctionConfiguration(l.ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("g"), Timeout: aws.Int32(9)}))(t)
	if *changed.Timeout != 9 || changed.State != types.StatePending || *changed.CodeSha256 != sha(broken) {
		t.Errorf("other settings for it: %+v", changed)
	}
	if got := state("g"); got.State != types.StateFailed || *got.Timeout != 9 {
		t.Errorf("with them: %+v", got)
	}
	ok(l.lambda.UpdateFunctionCode(l.ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: aws.String("g"), ZipFile: guest{body: `"whole"`}.module()}))(t)
	if got := state("g"); got.State != types.StateActive || got.LastUpdateStatus != types.LastUpdateStatusSuccessful || *got.Timeout != 9 {
		t.Errorf("with other code: %+v", got)
	}
}

// TestCreationThatWasCutOff has a function as a host leaves it that is killed before it has its record: asking again makes it, with other code or a second
// time it is there already.
func TestCreationThatWasCutOff(t *testing.T) {
	l := newLambdaRig(t)
	module := guest{body: `"cut"`}.module()
	if _, err := l.functions.Deploy(l.ctx, "f", module, runtime.Config{}); err != nil {
		t.Fatal(err)
	}
	create := func(code []byte) (*awslambda.CreateFunctionOutput, error) {
		return l.lambda.CreateFunction(l.ctx, &awslambda.CreateFunctionInput{
			FunctionName: aws.String("f"), Role: aws.String(testRole), Description: aws.String("whole"), Publish: true, Code: &types.FunctionCode{ZipFile: code},
		})
	}
	_, err := create(guest{body: `"other"`}.module())
	refusedWith[*types.ResourceConflictException](t, err, 409, "Function already exist: f")
	if got := ok(create(module))(t); *got.Version != "1" || *got.Description != "whole" || *got.CodeSha256 != sha(module) {
		t.Errorf("%+v", got)
	}
	_, err = create(module)
	refusedWith[*types.ResourceConflictException](t, err, 409, "Function already exist: f")
}

// TestFunctionRefusals has what cannot be made, and why.
func TestFunctionRefusals(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{}, nil)
	module := guest{}.module()
	type input = awslambda.CreateFunctionInput
	create := func(change func(*input)) error {
		in := &input{FunctionName: aws.String("g"), Role: aws.String(testRole), Code: &types.FunctionCode{ZipFile: module}}
		change(in)
		_, err := l.lambda.CreateFunction(l.ctx, in)
		return err
	}
	refusedWith[*types.ResourceConflictException](t, create(func(in *input) { in.FunctionName = aws.String("f") }), 409, "Function already exist: f")
	const unzip = "Could not unzip uploaded file. Please check your file, then try to upload again."
	for message, change := range map[string]func(*input){
		"Please provide a source for function code.": func(in *input) { in.Code.ZipFile = nil },
		unzip: func(in *input) { in.Code.ZipFile = []byte("no zip") },
		"S3Bucket: code is uploaded here as ZipFile, a zip with one WebAssembly module or the module itself.": func(in *input) { in.Code = &types.FunctionCode{S3Bucket: aws.String("b")} },
		"The zip has no file whose name ends with .wasm. A function is a WebAssembly module.":                 func(in *input) { in.Code.ZipFile = zipped(t, map[string][]byte{"index.js": nil}) },
		"The zip has more than one file whose name ends with .wasm: a.wasm and b.wasm. A function is one module.": func(in *input) {
			in.Code.ZipFile = zipped(t, map[string][]byte{"a.wasm": module, "b.wasm": module})
		},
		"PublishTo is not supported by functions here.":                 func(in *input) { in.PublishTo = types.FunctionVersionLatestPublishedLatestPublished },
		"PackageType Image is not supported by functions here.":         func(in *input) { in.PackageType = types.PackageTypeImage },
		"Layers is not supported by functions here.":                    func(in *input) { in.Layers = []string{"arn"} },
		"VpcConfig is not supported by functions here.":                 func(in *input) { in.VpcConfig = &types.VpcConfig{SubnetIds: []string{"s"}} },
		"TracingConfig.Mode Active is not supported by functions here.": func(in *input) { in.TracingConfig = &types.TracingConfig{Mode: types.TracingModeActive} },
		"The target " + streamsAt + "none of DeadLetterConfig is not there: it can be the ARN of a stream (" + streamsAt + "NAME).": func(in *input) {
			in.DeadLetterConfig = &types.DeadLetterConfig{TargetArn: aws.String(streamsAt + "none")}
		},
		"Timeout is 901; it must be 1 to 900 seconds.": func(in *input) { in.Timeout = aws.Int32(901) },
	} {
		refusedWith[*types.InvalidParameterValueException](t, create(change), 400, message)
	}
	for name, change := range map[string]func(*input){
		"a role that is none":  func(in *input) { in.Role = aws.String("me") },
		"a name that is none":  func(in *input) { in.FunctionName = aws.String("a:b:c:d") },
		"an odd variable":      func(in *input) { in.Environment = &types.Environment{Variables: map[string]string{"a b": "c"}} },
		"no memory":            func(in *input) { in.MemorySize = aws.Int32(1) },
		"a long description":   func(in *input) { in.Description = aws.String(strings.Repeat("x", 257)) },
		"an odd architecture":  func(in *input) { in.Architectures = []types.Architecture{"vax"} },
		"a module that is bad": func(in *input) { in.Code.ZipFile = []byte("\x00asm\x01\x00\x00\x00") },
		"a module that fails":  func(in *input) { in.Code.ZipFile = module[:len(module)-5] },
	} {
		if err := create(change); err == nil {
			t.Errorf("%s: it is made", name)
		}
	}
	if list := l.functions.List(); len(list) != 1 {
		t.Errorf("there are %d functions", len(list))
	}
	if status, _, body := l.post("POST", "/2015-03-31/functions", `{"FunctionName":`); status != 400 || body != `{"Type":"User","message":"Could not parse request body into json."}` {
		t.Errorf("%d %s", status, body)
	}
	if status, _, body := l.post("POST", "/2015-03-31/functions", `{"FunctionName":"g","Code":{}}`); status != 400 || !strings.Contains(body, "Value null at 'role'") {
		t.Errorf("%d %s", status, body)
	}

	// What is being changed is not changed again meanwhile.
	done := ok((&call{Handler: l.handler}).begin("f"))(t)
	_, err := l.lambda.UpdateFunctionCode(l.ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: module})
	refusedWith[*types.ResourceConflictException](t, err, 409, "The operation cannot be performed at this time. An update is in progress for resource: "+lambdaARN+"function:f")
	done()
	_, err = l.lambda.UpdateFunctionCode(l.ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: aws.String("f:1"), ZipFile: module})
	refusedWith[*types.InvalidParameterValueException](t, err, 400, "Only $LATEST can be changed; versions are immutable.")
	_, err = l.lambda.UpdateFunctionCode(l.ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: aws.String("h"), ZipFile: module})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "Function not found: "+lambdaARN+"function:h")
}

// TestUploadsThatTheHostRefuses have errors of their own.
func TestUploadsThatTheHostRefuses(t *testing.T) {
	l := newLambdaRig(t)
	for _, tt := range []struct {
		err           error
		code, message string
	}{
		{runtime.ErrUntrusted, "InvalidCodeSignatureException", ""},
		{runtime.ErrNoSpace, codeService, "The host's disk is full; nothing was stored."},
		{runtime.ErrSuperseded, codeConflict, "While the code was compiled a newer upload has taken its place, or the function was deleted."},
		{&runtime.FieldError{Field: "code", Problem: "does not export memory"}, codeParameter, "code does not export memory"},
	} {
		l.handler.lambda.functions = stubFunctions{deploy: fmt.Errorf("runtime: %w", tt.err)}
		_, err := l.lambda.UpdateFunctionCode(l.ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: guest{}.module()})
		refused(t, err, tt.code, tt.message)
		_, err = l.lambda.UpdateFunctionConfiguration(l.ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Timeout: aws.Int32(9)})
		refused(t, err, tt.code, tt.message)
	}
}

// TestVersions publishes, lists, keeps and deletes versions.
func TestVersions(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{body: "1"}, func(in *awslambda.CreateFunctionInput) { in.Publish, in.Description = true, aws.String("first") })
	publish := func(description string) string {
		t.Helper()
		return *ok(l.lambda.PublishVersion(l.ctx, &awslambda.PublishVersionInput{FunctionName: aws.String("f"), Description: &description}))(t).Version
	}
	if v := publish("again"); v != "1" {
		t.Errorf("what is published is published again as %s", v)
	}
	// A published version outlives the ten newest.
	for i := range 15 {
		_, err := l.functions.Deploy(l.ctx, "f", guest{body: strconv.Itoa(i + 2)}.module(), runtime.Config{})
		l.must(err)
	}
	if v := publish("sixteenth"); v != "16" {
		t.Errorf("published as %s", v)
	}
	list := ok(l.lambda.ListVersionsByFunction(l.ctx, &awslambda.ListVersionsByFunctionInput{FunctionName: aws.String("f")}))(t)
	var versions []string
	for _, v := range list.Versions {
		versions = append(versions, *v.Version+" "+*v.Description+" "+strings.TrimPrefix(*v.FunctionArn, lambdaARN))
	}
	if want := []string{"$LATEST first function:f:$LATEST", "1 first function:f:1", "16 sixteenth function:f:16"}; !slices.Equal(versions, want) {
		t.Errorf("versions %q", versions)
	}
	page := ok(l.lambda.ListVersionsByFunction(l.ctx, &awslambda.ListVersionsByFunctionInput{FunctionName: aws.String("f"), MaxItems: aws.Int32(2)}))(t)
	rest := ok(l.lambda.ListVersionsByFunction(l.ctx, &awslambda.ListVersionsByFunctionInput{FunctionName: aws.String("f"), Marker: page.NextMarker}))(t)
	if len(page.Versions) != 2 || len(rest.Versions) != 1 || *rest.Versions[0].Version != "16" {
		t.Errorf("pages of %d and %d", len(page.Versions), len(rest.Versions))
	}
	_, err := l.lambda.PublishVersion(l.ctx, &awslambda.PublishVersionInput{FunctionName: aws.String("f"), CodeSha256: aws.String("AAAA")})
	if err == nil || !strings.Contains(err.Error(), "CodeSHA256 (AAAA) is different from current CodeSHA256 in $LATEST") {
		t.Errorf("another digest: %v", err)
	}

	ok(l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: aws.String("f"), Name: aws.String("live"), FunctionVersion: aws.String("1")}))(t)
	remove := func(qualifier string) error {
		_, err := l.lambda.DeleteFunction(l.ctx, &awslambda.DeleteFunctionInput{FunctionName: aws.String("f"), Qualifier: &qualifier})
		return err
	}
	refusedWith[*types.ResourceConflictException](t, remove("1"), 409, "Unable to delete version because the following aliases reference it: [live]")
	refusedWith[*types.InvalidParameterValueException](t, remove("$LATEST"), 400, "$LATEST version cannot be deleted without deleting the function.")
	refusedWith[*types.InvalidParameterValueException](t, remove("live"), 400, "Deletion of aliases is not currently supported.")
	refusedWith[*types.ResourceNotFoundException](t, remove("77"), 404, "Function not found: "+lambdaARN+"function:f:77")
	ok(l.lambda.DeleteAlias(l.ctx, &awslambda.DeleteAliasInput{FunctionName: aws.String("f"), Name: aws.String("live")}))(t)
	l.must(remove("1"))
	l.must(remove("16")) // it is $LATEST too, which stays
	list = ok(l.lambda.ListVersionsByFunction(l.ctx, &awslambda.ListVersionsByFunctionInput{FunctionName: aws.String("f")}))(t)
	if f := ok(l.functions.Get("f"))(t); len(list.Versions) != 1 || f.Version != 16 {
		t.Errorf("%d versions, the newest is %d", len(list.Versions), f.Version)
	}
	if got := ok(l.lambda.GetFunctionConfiguration(l.ctx, &awslambda.GetFunctionConfigurationInput{FunctionName: aws.String("f"), Qualifier: aws.String("12")}))(t); *got.Version != "12" {
		t.Errorf("version 12 is %s", *got.Version)
	}
	_, err = l.lambda.GetFunctionConfiguration(l.ctx, &awslambda.GetFunctionConfigurationInput{FunctionName: aws.String("f:12"), Qualifier: aws.String("13")})
	refusedWith[*types.InvalidParameterValueException](t, err, 400, "The derived qualifier from the function name does not match the specified qualifier.")
}

// TestAliases makes, changes, lists and deletes aliases.
func TestAliases(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{body: `"one"`}, nil)
	ok(l.lambda.UpdateFunctionCode(l.ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: guest{body: `"two"`}.module()}))(t)
	l.updated("f")
	f, live := aws.String("f"), aws.String("live")
	made := ok(l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{
		FunctionName: f, Name: live, FunctionVersion: aws.String("1"), Description: aws.String("d"),
		RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"2": 0.25}},
	}))(t)
	if *made.AliasArn != lambdaARN+"function:f:live" || *made.FunctionVersion != "1" || *made.Description != "d" || made.RoutingConfig.AdditionalVersionWeights["2"] != 0.25 {
		t.Errorf("made %+v", made)
	}
	got := ok(l.lambda.GetAlias(l.ctx, &awslambda.GetAliasInput{FunctionName: f, Name: live}))(t)
	if *got.RevisionId != *made.RevisionId {
		t.Error("the revision differs")
	}
	changed := ok(l.lambda.UpdateAlias(l.ctx, &awslambda.UpdateAliasInput{FunctionName: f, Name: live, FunctionVersion: aws.String("2"), RevisionId: got.RevisionId, RoutingConfig: &types.AliasRoutingConfiguration{}}))(t)
	if *changed.FunctionVersion != "2" || *changed.Description != "d" || changed.RoutingConfig != nil {
		t.Errorf("changed %+v", changed)
	}
	_, err := l.lambda.UpdateAlias(l.ctx, &awslambda.UpdateAliasInput{FunctionName: f, Name: live, RevisionId: got.RevisionId})
	refusedWith[*types.PreconditionFailedException](t, err, 412, "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id")
	ok(l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: f, Name: aws.String("edge"), FunctionVersion: aws.String("$LATEST")}))(t)
	list := ok(l.lambda.ListAliases(l.ctx, &awslambda.ListAliasesInput{FunctionName: f, MaxItems: aws.Int32(1)}))(t)
	rest := ok(l.lambda.ListAliases(l.ctx, &awslambda.ListAliasesInput{FunctionName: f, Marker: list.NextMarker}))(t)
	of2 := ok(l.lambda.ListAliases(l.ctx, &awslambda.ListAliasesInput{FunctionName: f, FunctionVersion: aws.String("2")}))(t)
	if *list.Aliases[0].Name != "edge" || *rest.Aliases[0].Name != "live" || len(of2.Aliases) != 1 {
		t.Errorf("%+v, %+v, %+v", list, rest, of2)
	}
	if c := ok(l.lambda.GetFunctionConfiguration(l.ctx, &awslambda.GetFunctionConfigurationInput{FunctionName: aws.String("f:edge")}))(t); *c.Version != "$LATEST" || *c.FunctionArn != lambdaARN+"function:f:edge" {
		t.Errorf("edge is %s of %s", *c.Version, *c.FunctionArn)
	}

	_, err = l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: f, Name: live, FunctionVersion: aws.String("1")})
	refusedWith[*types.ResourceConflictException](t, err, 409, "Alias already exists: "+lambdaARN+"function:f:live")
	_, err = l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: aws.String("g"), Name: live, FunctionVersion: aws.String("1")})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "Function not found: "+lambdaARN+"function:g")
	_, err = l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: f, Name: aws.String("x"), FunctionVersion: aws.String("9")})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "Function not found: "+lambdaARN+"function:f:9")
	for _, weights := range []map[string]float64{{"1": 0.1, "2": 0.1}, {"live": 0.5}, {"1": 1.5}, {"$LATEST": 0.5}} {
		_, err = l.lambda.UpdateAlias(l.ctx, &awslambda.UpdateAliasInput{FunctionName: f, Name: live, RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: weights}})
		refused(t, err, codeParameter, "")
	}
	_, err = l.lambda.UpdateAlias(l.ctx, &awslambda.UpdateAliasInput{FunctionName: f, Name: live, RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"9": 0.5}}})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "Function not found: "+lambdaARN+"function:f:9")
	_, err = l.lambda.UpdateAlias(l.ctx, &awslambda.UpdateAliasInput{FunctionName: f, Name: live, RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"1": 1.5}}})
	refused(t, err, codeParameter, "AdditionalVersionWeights is 1.5; it must be 0 to 1")
	_, err = l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: f, Name: aws.String("12"), FunctionVersion: aws.String("1")})
	refused(t, err, codeParameter, "Name is 12; it must be 1 to 128 of the characters a-z A-Z 0-9 - _, and not digits only")
	_, err = l.lambda.GetAlias(l.ctx, &awslambda.GetAliasInput{FunctionName: f, Name: aws.String("none")})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "Cannot find alias arn: "+lambdaARN+"function:f:none")
	for range 2 { // the second time there is none, which is no error
		ok(l.lambda.DeleteAlias(l.ctx, &awslambda.DeleteAliasInput{FunctionName: f, Name: live}))(t)
	}
}

// TestListFunctions pages through functions of both surfaces.
func TestListFunctions(t *testing.T) {
	l := newLambdaRig(t)
	for _, name := range []string{"a", "b", "c"} {
		l.createFunction(name, guest{}, func(in *awslambda.CreateFunctionInput) { in.Publish = name == "b" })
	}
	l.function("d", guest{body: "native"})
	var names []string
	pages := 0
	p := awslambda.NewListFunctionsPaginator(l.lambda, &awslambda.ListFunctionsInput{MaxItems: aws.Int32(2), FunctionVersion: types.FunctionVersionAll})
	for ; p.HasMorePages(); pages++ {
		for _, f := range ok(p.NextPage(l.ctx))(t).Functions {
			names = append(names, strings.TrimPrefix(*f.FunctionArn, lambdaARN+"function:"))
		}
	}
	if want := []string{"a:$LATEST", "b:$LATEST", "b:1", "c:$LATEST", "d:$LATEST"}; !slices.Equal(names, want) || pages != 2 {
		t.Errorf("%d pages of %v", pages, names)
	}
	if first := ok(l.lambda.ListFunctions(l.ctx, &awslambda.ListFunctionsInput{}))(t).Functions[0]; *first.FunctionArn != lambdaARN+"function:a" || *first.Version != "$LATEST" {
		t.Errorf("without versions it lists %s, version %s", *first.FunctionArn, *first.Version)
	}
	got := ok(l.lambda.GetFunction(l.ctx, &awslambda.GetFunctionInput{FunctionName: aws.String("d")}))(t).Configuration
	if *got.Role != "arn:aws:iam::000000000000:role/shardmill" || got.Runtime != "provided.al2023" || *got.CodeSha256 != sha(guest{body: "native"}.module()) {
		t.Errorf("natively made: %+v", got)
	}
}

// TestFunctionTags sets, lists and removes the tags of a function.
func TestFunctionTags(t *testing.T) {
	l := newLambdaRig(t)
	arn := l.createFunction("f", guest{}, func(in *awslambda.CreateFunctionInput) { in.Tags = map[string]string{"a": "1", "b": "2"} }).FunctionArn
	ok(l.lambda.TagResource(l.ctx, &awslambda.TagResourceInput{Resource: arn, Tags: map[string]string{"c": "3"}}))(t)
	ok(l.lambda.UntagResource(l.ctx, &awslambda.UntagResourceInput{Resource: arn, TagKeys: []string{"a"}}))(t)
	if got := ok(l.lambda.ListTags(l.ctx, &awslambda.ListTagsInput{Resource: arn}))(t).Tags; !maps.Equal(got, map[string]string{"b": "2", "c": "3"}) {
		t.Errorf("tags %v", got)
	}
	_, err := l.lambda.ListTags(l.ctx, &awslambda.ListTagsInput{Resource: aws.String(*arn + ":1")})
	refused(t, err, codeParameter, "")
	_, err = l.lambda.ListTags(l.ctx, &awslambda.ListTagsInput{Resource: aws.String(lambdaARN + "function:g")})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "Function not found: "+lambdaARN+"function:g")
}

// TestReservedTags refuses keys with AWS's prefix, in any case of the letters, wherever tags are set.
func TestReservedTags(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("s", 1)
	function, mapping := l.createFunction("f", guest{}, nil).FunctionArn, ok(l.create(nil))(t).EventSourceMappingArn
	stream, consumer := aws.String(l.handler.streamARN("s")), aws.String(l.consumer("s", "c"))
	for key, good := range map[string]bool{"aws:x": false, "AWS:": false, "aWs:cloudformation:stack-name": false, "aws": true, "aws-x:": true, "x:aws:y": true} {
		tags := map[string]string{"a": "1", key: "aws:2"}
		message := "aws: prefixed tag key names are not allowed for external use: Tags has " + key + "."
		refusedTags := func(err error, code string) {
			t.Helper()
			if good {
				l.must(err)
			} else {
				refused(t, err, code, message)
			}
		}
		for _, arn := range []*string{function, mapping} {
			_, err := l.lambda.TagResource(l.ctx, &awslambda.TagResourceInput{Resource: arn, Tags: tags})
			refusedTags(err, codeParameter)
		}
		for _, arn := range []*string{stream, consumer} {
			_, err := l.TagResource(l.ctx, &kinesis.TagResourceInput{ResourceARN: arn, Tags: tags})
			refusedTags(err, codeInvalid)
		}
		_, err := l.AddTagsToStream(l.ctx, &kinesis.AddTagsToStreamInput{StreamARN: stream, Tags: tags})
		refusedTags(err, codeInvalid)
		if good {
			continue
		}
		_, err = l.lambda.CreateFunction(l.ctx, &awslambda.CreateFunctionInput{FunctionName: aws.String("g"), Role: aws.String(testRole), Code: &types.FunctionCode{ZipFile: []byte("x")}, Tags: tags})
		refusedTags(err, codeParameter)
		_, err = l.create(func(in *awslambda.CreateEventSourceMappingInput) { in.Tags = tags })
		refusedTags(err, codeParameter)
		_, err = l.CreateStream(l.ctx, &kinesis.CreateStreamInput{StreamName: aws.String("t"), ShardCount: aws.Int32(1), Tags: tags})
		refusedTags(err, codeInvalid)
		_, err = l.RegisterStreamConsumer(l.ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: stream, ConsumerName: aws.String("d"), Tags: tags})
		refusedTags(err, codeInvalid)
	}
}

// TestConcurrency reserves concurrency and gives it back.
func TestConcurrency(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{}, nil)
	f := aws.String("f")
	get := func() *int32 {
		t.Helper()
		return ok(l.lambda.GetFunctionConcurrency(l.ctx, &awslambda.GetFunctionConcurrencyInput{FunctionName: f}))(t).ReservedConcurrentExecutions
	}
	if n := get(); n != nil {
		t.Errorf("reserved are %d", *n)
	}
	put := ok(l.lambda.PutFunctionConcurrency(l.ctx, &awslambda.PutFunctionConcurrencyInput{FunctionName: f, ReservedConcurrentExecutions: aws.Int32(0)}))(t)
	if n := get(); *put.ReservedConcurrentExecutions != 0 || n == nil || *n != 0 {
		t.Errorf("reserved are %v", n)
	}
	if c := ok(l.lambda.GetFunction(l.ctx, &awslambda.GetFunctionInput{FunctionName: f}))(t).Concurrency; c == nil || *c.ReservedConcurrentExecutions != 0 {
		t.Errorf("concurrency %v", c)
	}
	_, err := l.lambda.Invoke(l.ctx, &awslambda.InvokeInput{FunctionName: f})
	refusedWith[*types.TooManyRequestsException](t, err, 429, "Rate Exceeded.")
	_, err = l.lambda.PutFunctionConcurrency(l.ctx, &awslambda.PutFunctionConcurrencyInput{FunctionName: f, ReservedConcurrentExecutions: aws.Int32(1001)})
	refusedWith[*types.InvalidParameterValueException](t, err, 400, "ReservedConcurrentExecutions is 1001; it must be 0 to 1000.")
	ok(l.lambda.DeleteFunctionConcurrency(l.ctx, &awslambda.DeleteFunctionConcurrencyInput{FunctionName: f}))(t)
	if n := get(); n != nil {
		t.Errorf("reserved are %d", *n)
	}
}

// TestWhatToolsRead has one answer for what tools look at besides.
func TestWhatToolsRead(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{}, nil)
	f := aws.String("f")
	if got := ok(l.lambda.GetAccountSettings(l.ctx, &awslambda.GetAccountSettingsInput{}))(t); got.AccountUsage.FunctionCount != 1 || got.AccountUsage.TotalCodeSize == 0 || got.AccountLimit.ConcurrentExecutions != 1000 {
		t.Errorf("%+v %+v", got.AccountLimit, got.AccountUsage)
	}
	if got := ok(l.lambda.GetFunctionCodeSigningConfig(l.ctx, &awslambda.GetFunctionCodeSigningConfigInput{FunctionName: f}))(t); *got.CodeSigningConfigArn != "" {
		t.Errorf("%+v", got)
	}
	if got := ok(l.lambda.GetFunctionRecursionConfig(l.ctx, &awslambda.GetFunctionRecursionConfigInput{FunctionName: f}))(t); got.RecursiveLoop != types.RecursiveLoopAllow {
		t.Errorf("%+v", got)
	}
	if got := ok(l.lambda.GetRuntimeManagementConfig(l.ctx, &awslambda.GetRuntimeManagementConfigInput{FunctionName: f}))(t); got.UpdateRuntimeOn != types.UpdateRuntimeOnAuto {
		t.Errorf("%+v", got)
	}
	if got := ok(l.lambda.ListProvisionedConcurrencyConfigs(l.ctx, &awslambda.ListProvisionedConcurrencyConfigsInput{FunctionName: f}))(t); len(got.ProvisionedConcurrencyConfigs) != 0 {
		t.Errorf("%+v", got)
	}
	_, err := l.lambda.GetProvisionedConcurrencyConfig(l.ctx, &awslambda.GetProvisionedConcurrencyConfigInput{FunctionName: f, Qualifier: aws.String("1")})
	refusedWith[*types.ProvisionedConcurrencyConfigNotFoundException](t, err, 404, "No Provisioned Concurrency Config found for this function")
}
