package aws

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

// functionSettings is what CreateFunction and UpdateFunctionConfiguration can both set. nil is what was left out.
type functionSettings struct {
	Role             *string  `aws:"len=1..2048;pattern=role"`
	Handler          *string  `aws:"len=0..128"`
	Runtime          *string  `aws:"len=1..128"`
	Description      *string  `aws:"len=0..256"`
	Timeout          *int     `aws:"range=1..0"`
	MemorySize       *int     `aws:"range=128..32768"`
	PackageType      string   `aws:"enum=Zip,Image"`
	Architectures    []string `aws:"len=1..1;elem.enum=x86_64,arm64"`
	Environment      *environment
	EphemeralStorage *ephemeralStorage
	TracingConfig    *tracingConfig
	SnapStart        *snapStartInput
	LoggingConfig    *loggingConfig
	VpcConfig        *vpcConfig
	DeadLetterConfig *deadLetterConfig
	foreignConfig
}

// foreignConfig is what functions here have nothing for.
type foreignConfig struct {
	CapacityProviderConfig anything
	CodeSigningConfigArn   anything
	DurableConfig          anything
	FileSystemConfigs      anything
	ImageConfig            anything
	KMSKeyArn              anything
	Layers                 anything
	TenancyConfig          anything
}

// environment is a function's variables, in a request and in an answer.
type environment struct{ Variables map[string]string }

type ephemeralStorage struct {
	Size int `aws:"required;range=512..10240"`
}

type tracingConfig struct {
	Mode string `aws:"enum=Active,PassThrough"`
}

type snapStartInput struct {
	ApplyOn string `aws:"enum=PublishedVersions,None"`
}

type snapStart struct{ ApplyOn, OptimizationStatus string }

type loggingConfig struct {
	LogFormat           string `aws:"enum=JSON,Text"`
	ApplicationLogLevel string `json:",omitzero" aws:"enum=TRACE,DEBUG,INFO,WARN,ERROR,FATAL"`
	SystemLogLevel      string `json:",omitzero" aws:"enum=DEBUG,INFO,WARN"`
	LogGroup            string `aws:"len=1..512"`
}

// deadLetterConfig names the stream of asynchronous invocations that are given up. AWS has queues and topics there.
type deadLetterConfig struct{ TargetArn string }

type vpcConfig struct {
	SubnetIds               anything
	SecurityGroupIds        anything
	Ipv6AllowedForDualStack anything
}

// Limits of functions in Lambda's units: seconds, and MiB.
const (
	maxTimeout    = int(runtime.MaxTimeout / time.Second)
	maxMemorySize = runtime.MaxMemoryBytes >> 20
)

// refuse says what functions cannot have here. Settings that have the value which AWS gives them by default are taken: tools send them.
func (in *functionSettings) refuse() error {
	for _, s := range []struct {
		name  string
		given bool
	}{
		{"PackageType Image", in.PackageType == "Image"},
		{"EphemeralStorage", in.EphemeralStorage != nil && in.EphemeralStorage.Size != defaultStorage},
		{"TracingConfig.Mode Active", in.TracingConfig != nil && in.TracingConfig.Mode == "Active"},
		{"SnapStart", in.SnapStart != nil && in.SnapStart.ApplyOn == "PublishedVersions"},
		{"LoggingConfig", in.LoggingConfig != nil && (in.LoggingConfig.LogFormat == "JSON" || in.LoggingConfig.ApplicationLogLevel+in.LoggingConfig.SystemLogLevel != "")},
		{"VpcConfig", in.VpcConfig != nil && bool(in.VpcConfig.SubnetIds || in.VpcConfig.SecurityGroupIds)},
		{"CapacityProviderConfig", bool(in.CapacityProviderConfig)},
		{"CodeSigningConfigArn", bool(in.CodeSigningConfigArn)},
		{"DurableConfig", bool(in.DurableConfig)},
		{"FileSystemConfigs", bool(in.FileSystemConfigs)},
		{"ImageConfig", bool(in.ImageConfig)},
		{"KMSKeyArn", bool(in.KMSKeyArn)},
		{"Layers", bool(in.Layers)},
		{"TenancyConfig", bool(in.TenancyConfig)},
	} {
		if s.given {
			return refuseParameter("%s is not supported by functions here.", s.name)
		}
	}
	if in.Timeout != nil && *in.Timeout > maxTimeout {
		return refuseParameter("Timeout is %d; it must be 1 to %d seconds.", *in.Timeout, maxTimeout)
	}
	if in.MemorySize != nil && *in.MemorySize > maxMemorySize {
		return refuseParameter("MemorySize is %d; it must be 128 to %d MB.", *in.MemorySize, maxMemorySize)
	}
	return nil
}

// deadLetter is the stream that a request names; ok is false when it names nothing.
func (c *call) deadLetter(in *functionSettings) (stream string, given bool, err error) {
	if in.DeadLetterConfig == nil {
		return "", false, nil
	}
	arn := in.DeadLetterConfig.TargetArn
	if arn == "" {
		return "", true, nil
	}
	target, err := c.parseARN(arn)
	if err == nil && target.consumer == "" && strings.HasPrefix(arn, c.place()) {
		if _, err = c.streams.Stream(target.stream); err == nil {
			return target.stream, true, nil
		}
	}
	return "", false, refuseParameter("The target %s of DeadLetterConfig is not there: it can be the ARN of a stream (%sNAME).", cut(arn), c.streamARN(""))
}

// apply puts what a request sets into a function's record and its configuration.
func (in *functionSettings) apply(r *functionRecord, config *runtime.Config) {
	for _, s := range []struct{ given, to *string }{{in.Role, &r.Role}, {in.Handler, &r.Handler}, {in.Runtime, &r.Runtime}, {in.Description, &r.Description}} {
		if s.given != nil {
			*s.to = *s.given
		}
	}
	if len(in.Architectures) > 0 {
		r.Architecture = in.Architectures[0]
	}
	if in.Timeout != nil {
		config.Timeout = time.Duration(*in.Timeout) * time.Second
	}
	if in.MemorySize != nil {
		config.MemoryBytes = int64(*in.MemorySize) << 20
	}
	if in.Environment != nil {
		config.Env = in.Environment.Variables
	}
}

// What a function has that was made natively, or without saying.
const (
	defaultRuntime      = "provided.al2023"
	defaultHandler      = "bootstrap"
	defaultArchitecture = "x86_64"
	defaultStorage      = 512 // MiB
)

// functionOutput is a version of a function on the wire.
type functionOutput struct {
	FunctionName     string
	FunctionArn      string
	Runtime          string
	Role             string
	Handler          string
	CodeSize         int
	Description      string
	Timeout          int
	MemorySize       int
	LastModified     string
	CodeSha256       string
	Version          string
	TracingConfig    tracingConfig
	RevisionId       string
	State            string
	StateReason      string `json:",omitzero"`
	StateReasonCode  string `json:",omitzero"`
	LastUpdateStatus string

	LastUpdateStatusReason     string `json:",omitzero"`
	LastUpdateStatusReasonCode string `json:",omitzero"`

	PackageType      string
	Architectures    []string
	EphemeralStorage ephemeralStorage
	SnapStart        snapStart
	LoggingConfig    loggingConfig
	DeadLetterConfig *deadLetterConfig `json:",omitzero"`
	Environment      *environment      `json:",omitzero"`
}

// functionOutput is $LATEST of a function, or the version that a qualifier leads to.
func (c *call) functionOutput(f *runtime.Function, r *functionRecord, qualifier string) functionOutput {
	return c.versionOutput(f, newest(f), r, qualifier)
}

// versionOutput is a version of a function as a request with a qualifier, or none, has it.
func (c *call) versionOutput(f *runtime.Function, v *runtime.VersionDetail, r *functionRecord, qualifier string) functionOutput {
	out := functionOutput{
		FunctionName: f.Name, FunctionArn: c.functionARN(f.Name, qualifier), Description: r.Description,
		Runtime: cmp.Or(r.Runtime, defaultRuntime), Handler: cmp.Or(r.Handler, defaultHandler), Role: r.roleARN(c.account),
		Timeout: wholeSeconds(v.Config.Timeout), MemorySize: int((v.Config.MemoryBytes + 1<<20 - 1) >> 20), Version: runtime.Latest,
		LastModified: lastModified(v, r), RevisionId: revisionOf(f, v, r), State: "Active", LastUpdateStatus: "Successful", PackageType: "Zip",
		TracingConfig: tracingConfig{"PassThrough"}, EphemeralStorage: ephemeralStorage{defaultStorage}, SnapStart: snapStart{"None", "Off"},
		LoggingConfig: loggingConfig{LogFormat: "Text", LogGroup: "/aws/lambda/" + f.Name}, Architectures: []string{cmp.Or(r.Architecture, defaultArchitecture)},
	}
	out.CodeSha256, out.CodeSize = r.codeDigest(v)
	if !leadsToLatest(f, qualifier) {
		out.Version = versionText(v.Version)
		for _, p := range r.Published {
			if p.Version == v.Version {
				out.Description = p.Description
			}
		}
	}
	if len(v.Config.Env) > 0 {
		out.Environment = &environment{v.Config.Env}
	}
	if r.DeadLetter != "" {
		out.DeadLetterConfig = &deadLetterConfig{c.streamARN(r.DeadLetter)}
	}
	out.setState(f, v)
	return out
}

// setState says whether the version serves, and what became of the last upload.
func (o *functionOutput) setState(f *runtime.Function, v *runtime.VersionDetail) {
	const creating = "The function is being created."
	if v.State == runtime.StateFailed {
		o.State, o.StateReasonCode, o.StateReason = "Failed", "InternalError", v.Problem
	}
	switch {
	case updating(f):
		o.LastUpdateStatus, o.LastUpdateStatusReasonCode, o.LastUpdateStatusReason = "InProgress", "Creating", creating
		if v.Version == f.Update.Version && (o.Version != runtime.Latest || v.Version == f.Version) { // nothing of it serves yet
			o.State, o.StateReasonCode, o.StateReason = "Pending", "Creating", creating
		}
	case f.Update != nil:
		o.LastUpdateStatus, o.LastUpdateStatusReasonCode, o.LastUpdateStatusReason = "Failed", "InternalError", f.Update.Problem
	}
}

// leadsToLatest says whether a qualifier is of the newest version whichever that is.
func leadsToLatest(f *runtime.Function, qualifier string) bool {
	number, alias, err := runtime.ParseQualifier(qualifier)
	if alias != "" {
		i := slices.IndexFunc(f.Aliases, func(a runtime.Alias) bool { return a.Name == alias })
		return i >= 0 && f.Aliases[i].Version == 0
	}
	return err == nil && number == 0
}

// lastModified is when a version was last changed, in the form of Lambda's functions. A version that is not the newest never is.
func lastModified(v *runtime.VersionDetail, r *functionRecord) string {
	at := v.Created
	if r.Modified.After(at) {
		at = r.Modified
	}
	return at.UTC().Format("2006-01-02T15:04:05.000-0700")
}
