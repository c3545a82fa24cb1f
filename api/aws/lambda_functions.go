package aws

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

type codeInput struct {
	ZipFile         []byte
	S3Bucket        anything
	S3Key           anything
	S3ObjectVersion anything
	ImageUri        anything
	SourceKMSKeyArn anything
}

// refuse says what code cannot be.
func (in *codeInput) refuse() error {
	for name, given := range map[string]anything{"S3Bucket": in.S3Bucket, "S3Key": in.S3Key, "S3ObjectVersion": in.S3ObjectVersion, "ImageUri": in.ImageUri, "SourceKMSKeyArn": in.SourceKMSKeyArn} {
		if given {
			return refuseParameter("%s: code is uploaded here as ZipFile, a zip with one WebAssembly module or the module itself.", name)
		}
	}
	if len(in.ZipFile) == 0 {
		return refuseParameter("Please provide a source for function code.")
	}
	return nil
}

type createFunctionInput struct {
	FunctionName string            `aws:"required;len=1..140"`
	Code         *codeInput        `aws:"required"`
	Tags         map[string]string `aws:"key.len=1..128;value.len=0..256"`
	Publish      bool
	PublishTo    anything
	functionSettings
}

// createFunction makes a function. When it is answered the function has been compiled, and is Active.
func createFunction(c *call, in *createFunctionInput) (any, error) {
	ref, err := c.parseFunction(in.FunctionName)
	if err != nil {
		return nil, err
	}
	if in.Role == nil {
		return nil, faultf(codeValidation, "1 validation error detected: Value null at 'role' failed to satisfy constraint: Member must not be null")
	}
	if err := cmp.Or(checkLambdaTags(in.Tags), errors.Join(in.refuse(), refusePublishTo(in.PublishTo))); err != nil {
		return nil, err
	}
	done, err := c.begin(ref.name)
	if err != nil {
		return nil, err
	}
	defer done()
	if f, err := c.lambda.functions.Get(ref.name); err == nil && !c.halfMade(&f, in.Code) {
		return nil, conflict("Function already exist: %s", ref.name)
	}
	deadLetter, _, err := c.deadLetter(&in.functionSettings)
	if err != nil {
		return nil, err
	}
	r, config := functionRecord{Tags: in.Tags, DeadLetter: deadLetter}, runtime.Config{}
	in.apply(&r, &config)
	f, up, err := c.deploy(ref.name, in.Code, config, false)
	if err != nil {
		return nil, err
	}
	r, err = c.changeRecord(&f, func(old *functionRecord) error {
		*old = r
		old.Uploads = map[string]upload{f.Digest: up}
		if in.Publish {
			old.Published = []published{{Version: f.Version, Description: r.Description}}
		}
		return nil
	})
	return c.functionOutput(&f, &r, publishedQualifier(&f, in.Publish)), err
}

// halfMade is whether a function has this code in its only version and no record: a host that is killed between the two steps of createFunction leaves
// one so, and who asks again, having no answer, is to get the function. One that was deployed natively with the same code is taken over.
func (c *call) halfMade(f *runtime.Function, code *codeInput) bool {
	r, err := c.record(f)
	module, bad := moduleOf(code.ZipFile)
	sum := sha256.Sum256(module)
	return err == nil && bad == nil && r.Modified.IsZero() && len(f.Versions) == 1 && f.Versions[0].Version == 1 && f.Versions[0].Digest == "sha256:"+hex.EncodeToString(sum[:])
}

// publishedQualifier is how the answer names the version: by its number where it was published.
func publishedQualifier(f *runtime.Function, publish bool) string {
	if publish {
		return strconv.Itoa(newest(f).Version)
	}
	return ""
}

// begin takes the right to change what a function is, until the returned func is called. Error: somebody else has it.
func (c *call) begin(name string) (done func(), err error) {
	l := c.lambda
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy[name] {
		return nil, c.busy(name)
	}
	l.busy[name] = true
	return func() {
		l.mu.Lock()
		delete(l.busy, name)
		l.mu.Unlock()
	}, nil
}

// busy is Lambda's answer about a function that is being changed.
func (c *call) busy(name string) error {
	return conflict("The operation cannot be performed at this time. An update is in progress for resource: %s", c.functionARN(name, ""))
}

// deploy makes what was uploaded the newest version of a function, in the background unless it is to wait.
func (c *call) deploy(name string, in *codeInput, config runtime.Config, wait bool) (f runtime.Function, up upload, err error) {
	if err := in.refuse(); err != nil {
		return f, up, err
	}
	module, err := moduleOf(in.ZipFile)
	if err != nil {
		return f, up, err
	}
	deploy := c.lambda.functions.Submit
	if wait {
		deploy = c.lambda.functions.DeployProven
	}
	f, err = deploy(c.r.Context(), name, module, config, runtime.Proof{})
	sum := sha256.Sum256(in.ZipFile)
	return f, upload{SHA256: sum[:], Size: len(in.ZipFile)}, err
}

// latest is the function of a request's path that is to be changed, with its record. Error: it is not there, or a qualifier stands there.
func (c *call) latest(revision string) (f runtime.Function, r functionRecord, err error) {
	ref, err := c.parseFunction(c.params["FunctionName"])
	if err != nil {
		return f, r, err
	}
	if ref.qualifier != "" && ref.qualifier != runtime.Latest {
		return f, r, refuseParameter("Only %s can be changed; versions are immutable.", runtime.Latest)
	}
	if f, err = c.function(ref); err != nil {
		return f, r, err
	}
	if r, err = c.record(&f); err != nil {
		return f, r, err
	}
	if updating(&f) {
		return f, r, c.busy(f.Name)
	}
	if revision != "" && revision != revisionOf(&f, &f.VersionDetail, &r) {
		return f, r, errRevision
	}
	return f, r, nil
}

// beginLatest is latest with the right to change the function: two uploads at once would not see each other's otherwise, and the second undo the first.
func (c *call) beginLatest(revision string) (f runtime.Function, r functionRecord, done func(), err error) {
	ref, err := c.parseFunction(c.params["FunctionName"])
	if err != nil {
		return f, r, nil, err
	}
	if done, err = c.begin(ref.name); err != nil {
		return f, r, nil, err
	}
	if f, r, err = c.latest(revision); err != nil {
		done()
	}
	return f, r, done, err
}

// errRevision is Lambda's answer about a RevisionId that is not the newest.
var errRevision = &fault{code: "PreconditionFailedException", status: 412,
	message: "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"}

type updateCodeInput struct {
	Publish       bool
	PublishTo     anything
	DryRun        bool
	RevisionId    string
	Architectures []string `aws:"len=1..1;elem.enum=x86_64,arm64"`
	codeInput
}

// updateFunctionCode gives a function new code; its configuration stays.
func updateFunctionCode(c *call, in *updateCodeInput) (any, error) {
	if err := refusePublishTo(in.PublishTo); err != nil {
		return nil, err
	}
	f, r, done, err := c.beginLatest(in.RevisionId)
	if err != nil {
		return nil, err
	}
	defer done()
	if in.DryRun {
		if err := in.refuse(); err != nil {
			return nil, err
		}
		if _, err := moduleOf(in.ZipFile); err != nil {
			return nil, err
		}
		return c.functionOutput(&f, &r, ""), nil
	}
	f, up, err := c.deploy(f.Name, &in.codeInput, f.Config, in.Publish) // who publishes a version goes on to point an alias at it, at once
	if err != nil {
		return nil, err
	}
	r, err = c.changeRecord(&f, func(r *functionRecord) error {
		uploads := map[string]upload{newest(&f).Digest: up}
		for _, v := range f.Versions { // those of versions that are gone are dropped
			if u, ok := r.Uploads[v.Digest]; ok && v.Digest != newest(&f).Digest {
				uploads[v.Digest] = u
			}
		}
		r.Uploads = uploads
		if len(in.Architectures) > 0 {
			r.Architecture = in.Architectures[0]
		}
		if in.Publish {
			r.publish(newest(&f).Version, "")
		}
		return nil
	})
	return c.functionOutput(&f, &r, publishedQualifier(&f, in.Publish)), err
}

type updateConfigInput struct {
	RevisionId string
	functionSettings
}

// updateFunctionConfiguration changes a function's settings. Those that bound its calls make a new version.
func updateFunctionConfiguration(c *call, in *updateConfigInput) (any, error) {
	f, r, done, err := c.beginLatest(in.RevisionId)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := in.refuse(); err != nil {
		return nil, err
	}
	deadLetter, given, err := c.deadLetter(&in.functionSettings)
	if err != nil {
		return nil, err
	}
	config := f.Config
	in.apply(&r, &config)
	if config.Timeout != f.Config.Timeout || config.MemoryBytes != f.Config.MemoryBytes || !maps.Equal(config.Env, f.Config.Env) {
		if f, err = c.lambda.functions.Configure(c.r.Context(), f.Name, f.Version, config); err != nil {
			return nil, err
		}
	}
	r, err = c.changeRecord(&f, func(r *functionRecord) error {
		if in.apply(r, &config); given {
			r.DeadLetter = deadLetter
		}
		return nil
	})
	return c.functionOutput(&f, &r, ""), err
}

type codeOutput struct {
	RepositoryType string
	Location       string
}

type concurrencyOutput struct {
	ReservedConcurrentExecutions int
}

type getFunctionOutput struct {
	Configuration functionOutput
	Code          codeOutput
	Tags          map[string]string  `json:",omitzero"`
	Concurrency   *concurrencyOutput `json:",omitzero"`
}

// getFunction has a location where the module can be downloaded from this host: the native API's.
func getFunction(c *call) (any, error) {
	f, v, r, qualifier, err := c.found()
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	out := getFunctionOutput{
		Configuration: c.versionOutput(&f, &v, &r, qualifier), Tags: r.Tags,
		Code: codeOutput{RepositoryType: "S3", Location: fmt.Sprintf("%s://%s/v1/functions/%s/code?version=%d", scheme, c.r.Host, url.PathEscape(f.Name), v.Version)},
	}
	if f.Reserved != runtime.Unreserved {
		out.Concurrency = &concurrencyOutput{f.Reserved}
	}
	return out, nil
}

func getFunctionConfiguration(c *call) (any, error) {
	f, v, r, qualifier, err := c.found()
	if err != nil {
		return nil, err
	}
	return c.versionOutput(&f, &v, &r, qualifier), nil
}

// found is the function of a request's path, the version that its qualifier leads to, and the record.
func (c *call) found() (f runtime.Function, v runtime.VersionDetail, r functionRecord, qualifier string, err error) {
	ref, err := c.qualified()
	if err != nil {
		return f, v, r, "", err
	}
	if f, err = c.function(ref); err != nil {
		return f, v, r, "", err
	}
	if v, err = versionOf(&f, ref.qualifier); err != nil {
		return f, v, r, "", err
	}
	r, err = c.record(&f)
	return f, v, r, ref.qualifier, err
}

// deleteFunction removes a function, or one version of it. Mappings stay, and wait for a function of that name, as on AWS.
func deleteFunction(c *call) (any, error) {
	ref, err := c.qualified()
	if err != nil {
		return nil, err
	}
	f, err := c.function(ref)
	if err != nil {
		return nil, err
	}
	if ref.qualifier == "" {
		if err := c.lambda.functions.Delete(c.r.Context(), f.Name); err != nil {
			return nil, err
		}
		return nil, c.deleteRecord(f.Name)
	}
	number, alias, err := runtime.ParseQualifier(ref.qualifier)
	switch {
	case err != nil:
		return nil, err
	case alias != "":
		return nil, refuseParameter("Deletion of aliases is not currently supported.")
	case number == 0:
		return nil, refuseParameter("%s version cannot be deleted without deleting the function.", runtime.Latest)
	}
	return nil, c.deleteVersion(&f, number)
}

// deleteVersion removes a version, unless it is what $LATEST is: then it is only no longer published.
func (c *call) deleteVersion(f *runtime.Function, number int) error {
	for _, a := range f.Aliases {
		if a.Version == number || a.Canary == number {
			return conflict("Unable to delete version because the following aliases reference it: [%s]", a.Name)
		}
	}
	if number != f.Version {
		if err := c.lambda.functions.DeleteVersion(c.r.Context(), f.Name, number); err != nil {
			return err
		}
	}
	_, err := c.changeRecord(f, func(r *functionRecord) error {
		r.Published = slices.DeleteFunc(r.Published, func(p published) bool { return p.Version == number })
		r.forget(versionText(number))
		return nil
	})
	return err
}

type listFunctionsOutput struct {
	NextMarker string `json:",omitzero"`
	Functions  []functionOutput
}

// maxListedFunctions is the most that one answer lists.
const maxListedFunctions = 50

// listFunctions lists functions by name; with FunctionVersion=ALL each with its published versions.
func listFunctions(c *call) (any, error) {
	query := c.r.URL.Query()
	limit, err := pageSize(query, maxListedFunctions, 10_000)
	if err != nil {
		return nil, err
	}
	if v := query.Get("FunctionVersion"); v != "" && v != "ALL" {
		return nil, faultf(codeValidation, "1 validation error detected: Value '%s' at 'functionVersion' failed to satisfy constraint: Member must satisfy enum value set: [ALL]", cut(v))
	}
	out, latest := listFunctionsOutput{Functions: []functionOutput{}}, ""
	if query.Get("FunctionVersion") == "ALL" {
		latest = runtime.Latest // which is one of its versions there
	}
	list := slices.DeleteFunc(c.lambda.functions.List(), func(f runtime.Function) bool { return f.Name <= query.Get("Marker") })
	for i := range list {
		if i == limit {
			out.NextMarker = list[i-1].Name
			break
		}
		r, err := c.record(&list[i])
		if err != nil {
			return nil, err
		}
		out.Functions = append(out.Functions, c.functionOutput(&list[i], &r, latest))
		if latest != "" {
			out.Functions = append(out.Functions, c.publishedOutputs(&list[i], &r)...)
		}
	}
	return out, nil
}

// revisionOf changes whenever a version's configuration or code does.
func revisionOf(f *runtime.Function, v *runtime.VersionDetail, r *functionRecord) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{f.Name, strconv.Itoa(v.Version), v.Digest, v.Created.String(), r.Modified.Format(time.RFC3339Nano)}, "\x00")))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	text := hex.EncodeToString(sum[:16])
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

// codeDigest is the digest and the size of the file that a version came in.
func (r *functionRecord) codeDigest(v *runtime.VersionDetail) (digest string, size int) {
	if up, ok := r.Uploads[v.Digest]; ok {
		return base64.StdEncoding.EncodeToString(up.SHA256), up.Size
	}
	sum, _ := hex.DecodeString(strings.TrimPrefix(v.Digest, "sha256:")) // the runtime has made it
	return base64.StdEncoding.EncodeToString(sum), v.Size
}
