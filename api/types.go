package api

import (
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// StreamConfig is what a stream is created with: the body of PUT
// /v1/streams/{name}. A field that is left out takes its default.
type StreamConfig struct {
	Shards    int      `json:"shards,omitzero" minimum:"1" maximum:"1000" default:"1" some:"1 to 1000" doc:"How many shards the stream has; with mode on-demand, how many it begins with, 4 when left out."`
	Retention Duration `json:"retention,omitzero" some:"1h to 365d" doc:"How long records are kept: 1h to 365d; 24h when left out."`
	MaxRecord Size     `json:"maxRecordBytes,omitzero" some:"1024 to 10485760 bytes" doc:"The largest data of one record in bytes: 1KiB to 10MiB, 1MiB when left out."`
	Mode      string   `json:"mode,omitempty" enum:"provisioned,on-demand" default:"provisioned" doc:"Who chooses the number of shards: provisioned is the user, on-demand the host, by the traffic."`
	Limits    string   `json:"limits,omitempty" enum:"none,aws" default:"none" doc:"What a shard takes: none is as much as the hardware can, aws is 1 MiB and 1000 records a second, as a shard of Kinesis."`

	Tags map[string]string `json:"tags,omitempty" doc:"Up to 50 tags: keys of 1 to 128 characters, values of up to 256."`
}

// StreamChange is what is changed of a stream: the body of PATCH /v1/streams/{name}. A field that is left out stays as it is.
type StreamChange struct {
	Retention *Duration `json:"retention,omitzero" doc:"How long records are kept: 1h to 365d. A shorter one takes effect at once."`
	MaxRecord *Size     `json:"maxRecordBytes,omitzero" doc:"The largest data of one record in bytes: 1KiB to 10MiB. What is stored stays."`
	Mode      *string   `json:"mode,omitzero" enum:"provisioned,on-demand" doc:"Who chooses the number of shards; they stay as they are."`
	Limits    *string   `json:"limits,omitzero" enum:"none,aws" doc:"What a shard takes."`

	SetTags    map[string]string `json:"setTags,omitempty" doc:"Tags to add or to give another value."`
	RemoveTags []string          `json:"removeTags,omitempty" doc:"Keys of tags to remove; those that are not there do not matter."`
}

// SplitShard is the body of POST /v1/streams/{name}/split.
type SplitShard struct {
	Shard string `json:"shard" example:"shardId-000000000003" doc:"The open shard to split."`
	At    string `json:"at,omitempty" pattern:"^[0-9]{1,39}$" doc:"The first hash key of the upper of the two new shards, a decimal number; the middle of the shard's when left out."`
}

// MergeShards is the body of POST /v1/streams/{name}/merge.
type MergeShards struct {
	Shard    string `json:"shard" example:"shardId-000000000003" doc:"One of two open shards whose hash keys are side by side."`
	Adjacent string `json:"adjacent" example:"shardId-000000000004" doc:"The other one."`
}

// ResizeStream is the body of POST /v1/streams/{name}/resize.
type ResizeStream struct {
	Shards int `json:"shards" minimum:"1" maximum:"1000" doc:"How many open shards the stream is to have, of equal ranges."`
}

// Stream describes a stream.
type Stream struct {
	Name       string    `json:"name" doc:"The stream's name."`
	ID         string    `json:"id" doc:"Tells a stream from an earlier one of the same name."`
	Status     string    `json:"status" doc:"active, or failed when it could not be opened."`
	Reason     string    `json:"reason,omitempty" doc:"Why it could not be opened."`
	Created    time.Time `json:"created" doc:"When it was created."`
	Retention  Duration  `json:"retention" doc:"How long records are kept."`
	MaxRecord  Size      `json:"maxRecordBytes" doc:"The largest data of one record, in bytes."`
	Mode       string    `json:"mode" doc:"Who chooses the number of shards: provisioned or on-demand."`
	Limits     string    `json:"limits,omitempty" doc:"What a shard takes: aws, or absent where only the hardware limits it."`
	ShardCount int       `json:"shardCount" doc:"How many shards take records."`

	Tags      map[string]string `json:"tags,omitempty" doc:"The stream's tags."`
	Consumers []string          `json:"consumers,omitempty" doc:"Its registered consumers, which the Kinesis API has."`

	Shards []Shard `json:"shards,omitempty" doc:"The shards; left out in a list of streams."`
}

// Shard describes one shard of a stream.
type Shard struct {
	ID          string    `json:"id" example:"shardId-000000000003" doc:"The shard's name."`
	StartHash   string    `json:"startHash" doc:"The first hash key it takes, a decimal number below 2^128."`
	EndHash     string    `json:"endHash" doc:"The last hash key it takes."`
	Parents     []string  `json:"parents,omitempty" doc:"The shards it was made from."`
	Closed      bool      `json:"closed,omitzero" doc:"It takes no more records."`
	Last        Sequence  `json:"last,omitzero" doc:"Of a closed shard: its last sequence number."`
	Oldest      Sequence  `json:"oldest" doc:"The oldest record that is kept; equal to next when there is none."`
	Next        Sequence  `json:"next" doc:"The sequence number the next record will have at least."`
	LastArrival time.Time `json:"lastArrival,omitzero" doc:"When the newest record arrived, or somewhat later."`
}

// StreamList is the answer of GET /v1/streams.
type StreamList struct {
	Streams []Stream `json:"streams" doc:"All streams, sorted by name, without their shards."`
}

// PutRecords is the application/json body of a put. What is wrong with one record
// refuses that record alone; a body that is malformed, has an unknown field, or has
// too few or too many records is refused as a whole.
type PutRecords struct {
	Records []PutRecord `json:"records" minItems:"1" maxItems:"10000" doc:"The records, in order. What is wrong with one of them refuses that one alone; a body that is malformed, has an unknown field or too many records is refused as a whole."`
}

// PutRecord is one record of a put. Exactly one of Data, Text and JSON is set.
type PutRecord struct {
	PartitionKey    string         `json:"partitionKey" minLength:"1" maxLength:"256" doc:"Chooses the shard: 1 to 256 characters."`
	Data            []byte         `json:"data,omitzero" doc:"The record's bytes in base64."`
	Text            *string        `json:"text,omitzero" doc:"The record's bytes as text, in place of data."`
	JSON            jsontext.Value `json:"json,omitzero" doc:"Any JSON value, in place of data; it is stored as it is written in the body."`
	ExplicitHashKey string         `json:"explicitHashKey,omitempty" pattern:"^[0-9]{1,39}$" doc:"Chooses the shard in place of the partition key: a decimal number below 2^128."`
}

// PutAnswer says what happened to the records of a put.
type PutAnswer struct {
	Put    int64 `json:"put" doc:"How many records are on disk."`
	Failed int64 `json:"failed" doc:"How many records were refused; they are not stored."`
	// Results has one entry per record, in order: always for application/json,
	// when asked for with results=true else.
	Results []PutResult `json:"results,omitempty" doc:"One entry per record in order: always for application/json, else with results=true."`
	// ResultsCut tells that results ends after its first 100,000 entries.
	ResultsCut bool `json:"resultsCut,omitzero" doc:"results holds the first 100,000 records only."`
	// Failures names the first 100 refused lines or records where there are no results.
	Failures []PutFailure `json:"failures,omitempty" doc:"The first 100 refused lines, or records of a raw batch."`
	// UndecidedFrom is present when a put ended early: all lines before it are
	// decided, it and those after it may be stored or not and have to be sent again.
	UndecidedFrom int64 `json:"undecidedFrom,omitzero" doc:"Present when the put ended early: every line before this one is stored or refused; send the lines from here on again."`
}

// PutResult is what happened to one record: shard and sequence number, or the
// code and sentence of an error.
type PutResult struct {
	Shard    string   `json:"shard,omitempty" doc:"The shard that has the record."`
	Sequence Sequence `json:"sequenceNumber,omitzero" doc:"The record's sequence number in that shard."`
	Error    Kind     `json:"error,omitempty" doc:"Why the record was refused: a kind of problem."`
	Message  string   `json:"message,omitempty" doc:"What is wrong with the record."`
	Field    string   `json:"field,omitempty" doc:"The field of the record that is refused."`
	Limit    string   `json:"limit,omitempty" doc:"What the field may be."`
}

// PutFailure is one refused line or record.
type PutFailure struct {
	Line    int64  `json:"line" doc:"The line, or the record of a raw batch, counted from 1."`
	Error   Kind   `json:"error" doc:"Why it was refused: a kind of problem."`
	Message string `json:"message" doc:"What is wrong with it."`
	Field   string `json:"field,omitempty" doc:"The field that is refused."`
	Limit   string `json:"limit,omitempty" doc:"What the field may be."`
}

// Record is one record as it is read: a line of GET
// /v1/streams/{name}/records. Exactly one of JSON, Text and Data holds its
// bytes; Bytes gives them in any case. A line with Problem is about a shard that
// cannot be read on; the other shards go on.
type Record struct {
	Shard        string         `json:"shard,omitzero" doc:"The shard that has the record; absent where a problem ends the whole read, as when the stream is deleted."`
	Sequence     Sequence       `json:"sequenceNumber,omitzero" doc:"The record's sequence number in that shard."`
	SubSequence  *int           `json:"subSequenceNumber,omitzero" minimum:"0" doc:"The record's place in the KPL-aggregated record it was taken from, counted from 0; absent for a record that is stored by itself."`
	PartitionKey string         `json:"partitionKey,omitzero" doc:"The record's partition key."`
	Arrival      time.Time      `json:"arrival,omitzero" doc:"When the host took it."`
	JSON         jsontext.Value `json:"json,omitzero" doc:"The bytes, where they are JSON; line breaks between tokens are given as spaces."`
	Text         *string        `json:"text,omitzero" doc:"The bytes, where they are UTF-8 but not JSON."`
	Data         []byte         `json:"data,omitzero" doc:"The bytes in base64, where they are neither."`
	Problem      *Problem       `json:"problem,omitempty" doc:"Why this shard, or without one the stream, cannot be read on."`
}

// Bytes are the record's bytes.
func (r *Record) Bytes() []byte {
	switch {
	case r.JSON != nil:
		return r.JSON
	case r.Text != nil:
		return []byte(*r.Text)
	}
	return r.Data
}

// Damage names damaged records: they were stored, and cannot be read.
type Damage struct {
	Stream string   `json:"stream" doc:"The stream."`
	Shard  string   `json:"shard" doc:"The shard."`
	First  Sequence `json:"first" doc:"The first sequence number that may be lost."`
	Last   Sequence `json:"last" doc:"The last sequence number that may be lost."`
	File   string   `json:"file,omitempty" doc:"The file the damage is in."`
	Offset int64    `json:"offset" doc:"Where in the file it begins."`
	Reason string   `json:"reason" doc:"What was found."`
}

// DamageList is the answer of GET /v1/streams/{name}/damage.
type DamageList struct {
	Damage []Damage `json:"damage" doc:"All damage that is known and not accepted."`
}

// AcceptDamage is the body of POST /v1/streams/{name}/damage/accept.
type AcceptDamage struct {
	Shard string `json:"shard" example:"shardId-000000000003" doc:"The shard whose damage is given up, so that it can be read on behind it."`
}

// LostRecords is the answer of POST /v1/streams/{name}/damage/accept.
type LostRecords struct {
	Lost []Damage `json:"lost" doc:"What has been given up."`
}

// FunctionConfig is what a function is deployed with. A field that is left out
// takes its default.
type FunctionConfig struct {
	Timeout     Duration `json:"timeout,omitzero" query:"timeout" some:"1ms to 15m" example:"3s" doc:"How long one call may take: 1ms to 15m; 3s when left out."`
	Memory      Size     `json:"memory,omitzero" query:"memory" some:"1MiB to 4096MiB" doc:"How much memory an instance may have: 1MiB to 4096MiB, 128MiB when left out."`
	Fuel        int      `json:"fuel,omitzero" query:"fuel" minimum:"1000" maximum:"1000000000000000" some:"1000 to 1000000000000000" doc:"How many instructions one call may execute, weighted as the fuel of invocations is; as many as it has time for when left out."`
	Concurrency int      `json:"concurrency,omitzero" query:"concurrency" minimum:"1" maximum:"1000" some:"1 to 1000" doc:"How many instances may run at once, 1 to 1000; twice the host's processors when left out, but at least 4."`
	IdleMemory  Size     `json:"idleMemory,omitzero" query:"idleMemory" some:"1MiB to 1024GiB" doc:"How much memory the instances of a version that wait for calls may hold together, beside the one used last: 1MiB to 1024GiB, 1GiB when left out. Those used longest ago are closed first."`
	Isolation   string   `json:"isolation,omitempty" query:"isolation" enum:"instance,invocation" some:"instance or invocation" doc:"What calls have in common: with instance, which is taken when it is left out, an instance makes one call after the other; with invocation each call has a new one."`
	Emit        []string `json:"emit,omitempty" query:"emit" doc:"A stream the function may emit records to; repeatable."`

	Secrets []string  `json:"secrets,omitempty" query:"secrets" doc:"A secret the function may read, by name; repeatable."`
	State   []string  `json:"state,omitempty" query:"state" doc:"A state table the function has: NAME is one of its own for each mapping and shard that it runs for, shared:NAME is one that it shares with every function that is granted it; repeatable."`
	HTTP    []string  `json:"http,omitempty" query:"http" doc:"A server the function may call: METHODS scheme://host:port, as in POST https://hooks.example.com; a URL alone is GET and HEAD; repeatable."`
	Env     Variables `json:"env,omitempty" query:"env" doc:"The function's environment variables, at most 64 and 4 KiB; in a query NAME=VALUE, repeatable. Whoever may see the function sees them: values that nobody should see are secrets."`
}

// FunctionChange is what a version of a function may do that the one before could not, and the reverse: ends of sentences that begin
// with "it may".
type FunctionChange struct {
	Against int      `json:"against" doc:"The version before; 0 when there was none."`
	Gained  []string `json:"gained,omitempty" example:"read secret \"token\"" doc:"What the new version may do and the one before could not."`
	Lost    []string `json:"lost,omitempty" doc:"What the version before could do and the new one may not."`
}

// Function describes a function and its current version.
type Function struct {
	Name        string            `json:"name" doc:"The function's name."`
	Version     int               `json:"version" doc:"The current version, $LATEST."`
	State       string            `json:"state" doc:"active when it can serve, pending while it is compiled or loaded, failed when it cannot be."`
	Reason      string            `json:"reason,omitempty" doc:"Why it cannot be loaded."`
	Start       string            `json:"start,omitempty" doc:"How its instances begin: snapshot, with the memory of one that was initialized, or plain, by being initialized. Left out until there was one."`
	StartReason string            `json:"startReason,omitempty" doc:"Why they begin plainly: the end of a sentence about the module."`
	Digest      string            `json:"digest" doc:"sha256:… of the module."`
	SignedBy    string            `json:"signedBy,omitempty" doc:"The trusted key that signed the module: the first 16 digits of its SHA-256."`
	Size        Size              `json:"size" doc:"The module's size in bytes."`
	Language    string            `json:"language,omitempty" doc:"javascript or typescript, where the code is a source; left out for a module."`
	Created     time.Time         `json:"created" doc:"When the version was deployed."`
	Handles     []string          `json:"handles,omitempty" doc:"The kinds of call the module handles; left out when it does not say."`
	Config      FunctionConfig    `json:"config" doc:"The version's settings."`
	Reserved    *int              `json:"reserved,omitzero" doc:"How many calls may run at once over all versions; left out without such a bound."`
	Aliases     []Alias           `json:"aliases,omitempty" doc:"Its aliases, by name; left out in a list of functions."`
	Versions    []FunctionVersion `json:"versions,omitempty" doc:"All versions, the oldest first; left out in a list of functions."`
	Update      *FunctionVersion  `json:"update,omitempty" doc:"What was uploaded last, while it is compiled (pending), or when it has failed (reason); the current version serves."`
	Change      *FunctionChange   `json:"change,omitempty" doc:"Where this answers a request that made a version: what it may do that the one before could not, and the reverse."`
}

// FunctionVersion is one immutable version of a function.
type FunctionVersion struct {
	Version  int            `json:"version" doc:"Its number."`
	State    string         `json:"state" doc:"active, pending or failed."`
	Reason   string         `json:"reason,omitempty" doc:"Why it has failed."`
	Digest   string         `json:"digest" doc:"sha256:… of the module."`
	SignedBy string         `json:"signedBy,omitempty" doc:"The trusted key that signed the module."`
	Size     Size           `json:"size" doc:"The module's size in bytes."`
	Language string         `json:"language,omitempty" doc:"javascript or typescript, where the code is a source."`
	Created  time.Time      `json:"created" doc:"When it was deployed."`
	Config   FunctionConfig `json:"config" doc:"Its settings."`

	Start       string `json:"start,omitempty" doc:"How its instances begin: snapshot, with the memory of one that was initialized, or plain, by being initialized. Left out until there was one."`
	StartReason string `json:"startReason,omitempty" doc:"Why they begin plainly: the end of a sentence about the module."`
	Invocations uint64 `json:"invocations" doc:"How often it was called since the host started."`
	Failures    uint64 `json:"failures" doc:"How many of these calls ended in an error of any sort."`
}

// FunctionList is the answer of GET /v1/functions.
type FunctionList struct {
	Functions []Function `json:"functions" doc:"All functions, sorted by name, without their older versions."`
}

// AliasConfig is what an alias leads to: the body of PUT /v1/functions/{name}/aliases/{alias}.
type AliasConfig struct {
	Version     int     `json:"version,omitzero" minimum:"0" doc:"The version it leads to; 0 or left out is the newest, $LATEST, whichever that is."`
	Canary      int     `json:"canary,omitzero" minimum:"0" doc:"A second version, which has a share of the calls."`
	Share       float64 `json:"share,omitzero" minimum:"0" maximum:"1" doc:"The part of the calls that the canary has: 0 to 1. Each call is decided by itself."`
	Description string  `json:"description,omitempty" doc:"What it is for, at most 256 bytes."`
}

// Alias is a name for a version of a function, or for two among which its calls are divided.
type Alias struct {
	Name string `json:"name" doc:"Its name."`
	AliasConfig
	Created  time.Time `json:"created" doc:"When it was made."`
	Modified time.Time `json:"modified" doc:"When it was last changed."`
}

// Rollback is the body of POST /v1/functions/{name}/rollback.
type Rollback struct {
	Version int `json:"version" minimum:"1" example:"3" doc:"The version whose module and settings become the newest version."`
}

// Reservation is the body of PUT /v1/functions/{name}/concurrency.
type Reservation struct {
	Reserved *int `json:"reserved,omitzero" minimum:"0" maximum:"1000" doc:"How many calls may run at once, over all versions: 0 (every call is throttled) to 1000; left out, there is no such bound."`
}

// Invocation is what became of one call of a function.
type Invocation struct {
	ID         string            `json:"id" doc:"Its id; the log lines of the call carry it."`
	Function   string            `json:"function" doc:"The function."`
	Version    int               `json:"version" doc:"The version that ran."`
	Kind       string            `json:"kind" doc:"batch, windowClose, transform or invoke."`
	Source     *InvocationSource `json:"source,omitempty" doc:"Where its records came from; left out for a direct invocation."`
	Attempt    int               `json:"attempt,omitzero" doc:"Which delivery of its batch it was, from 1."`
	Started    time.Time         `json:"started" doc:"When it began."`
	Duration   Duration          `json:"duration" doc:"The time in the function."`
	Records    int               `json:"records,omitzero" doc:"How many records it was given."`
	Emitted    int               `json:"emitted,omitzero" doc:"How many records it put to streams."`
	Fuel       int64             `json:"fuel,omitzero" doc:"The instructions that it executed, weighted by what they cost: a measure of processor time that does not depend on the machine."`
	MemoryPeak Size              `json:"memoryPeak,omitzero" doc:"The memory of its instance after the call, in bytes."`
	Outcome    string            `json:"outcome" doc:"ok, throttled, canceled, host_error, or how the function failed: error, trap, timeout, fuel, memory, exit, malformed_reply, denied, refused, conflict."`
	Message    string            `json:"message,omitempty" doc:"What the error says."`
	Type       string            `json:"type,omitempty" doc:"The error's type in the function's language."`
	Stack      string            `json:"stack,omitempty" doc:"Where it happened."`
	Logs       []LogLine         `json:"logs,omitempty" doc:"The log lines of the call that are kept; where one invocation is asked for, and with logs=true. After a restart the last ones, 8 KiB of a call at most."`
	LogLines   int               `json:"logLines,omitzero" doc:"How many lines the log has had of the call, kept or not."`
}

// Transformed is the answer of POST /v1/functions/{name}/transform.
type Transformed struct {
	Records []TransformedRecord `json:"records" doc:"What became of each record, in order."`
	Emitted int                 `json:"emitted,omitzero" doc:"How many records the function put to streams besides."`
}

// TransformedRecord is what a transform made of one record.
type TransformedRecord struct {
	Result   string            `json:"result" doc:"ok: it goes on, as it is or replaced; dropped: it does not; rejected: it has failed."`
	Reason   string            `json:"reason,omitempty" doc:"Why, where it does not go on and the function says so."`
	Replaced bool              `json:"replaced,omitzero" doc:"Others have taken its place."`
	Records  []TransformOutput `json:"records,omitempty" doc:"What goes on: the record, or what has taken its place; left out where nothing does."`
}

// TransformOutput is a record that goes on to the destination. Exactly one of JSON, Text and Data holds its bytes.
type TransformOutput struct {
	PartitionKey string         `json:"partitionKey,omitzero" doc:"Its partition key."`
	JSON         jsontext.Value `json:"json,omitzero" doc:"The bytes, where they are JSON."`
	Text         *string        `json:"text,omitzero" doc:"The bytes, where they are UTF-8 but not JSON."`
	Data         []byte         `json:"data,omitzero" doc:"The bytes in base64, where they are neither."`
}

// Bytes are the record's bytes.
func (r *TransformOutput) Bytes() []byte {
	return (&Record{JSON: r.JSON, Text: r.Text, Data: r.Data}).Bytes()
}

// InvocationSource says where the records of a call are from.
type InvocationSource struct {
	Mapping string   `json:"mapping" doc:"The event source mapping."`
	Stream  string   `json:"stream" doc:"The stream."`
	Shard   string   `json:"shard" doc:"The shard."`
	First   Sequence `json:"first" doc:"The first record's sequence number."`
	Last    Sequence `json:"last" doc:"The last record's sequence number."`
}

// LogLine is one line a function wrote, or the host about it.
type LogLine struct {
	Time       time.Time `json:"time" doc:"When it was written."`
	Function   string    `json:"function" doc:"The function."`
	Version    int       `json:"version" doc:"The version that ran."`
	Invocation string    `json:"invocation" doc:"The invocation's id."`
	Level      string    `json:"level" doc:"info for stdout, error for stderr and for failures."`
	Message    string    `json:"message" doc:"The line."`
}

// Secret describes a secret. Its value is in no answer.
type Secret struct {
	Name     string    `json:"name" doc:"Its name."`
	Created  time.Time `json:"created" doc:"When it was made."`
	Modified time.Time `json:"modified" doc:"When its value was last set."`
}

// SecretList is the answer of GET /v1/secrets.
type SecretList struct {
	Secrets []Secret `json:"secrets" doc:"All secrets, sorted by name, without their values."`
}

// StateTable is a state table that functions keep, and how much is in it.
type StateTable struct {
	Name     string  `json:"name" doc:"Its name."`
	Shared   bool    `json:"shared,omitzero" doc:"It is shared by every function that is granted it; otherwise it belongs to one function, for a mapping and shard."`
	Function string  `json:"function,omitempty" doc:"The function that it belongs to."`
	Mapping  string  `json:"mapping,omitempty" doc:"The mapping that it belongs to; left out for direct invocations."`
	Shard    *uint32 `json:"shard,omitzero" doc:"The number of the shard that it belongs to; left out without a mapping."`
	Keys     int64   `json:"keys" doc:"How many entries it has."`
	Bytes    int64   `json:"bytes" doc:"How large it is: keys and values, with 16 bytes more for each entry."`
}

// StateTableList is the answer of GET /v1/state.
type StateTableList struct {
	Tables []StateTable `json:"tables" doc:"The tables that hold something, shared ones first, by name and owner."`
}

// StateEntry is an entry of a state table: one of GET /v1/state/{name}/entries, and a line of what is loaded. Exactly one of Key and KeyData is its key, and
// exactly one of JSON, Text and Data holds its value; Bytes gives it in any case.
type StateEntry struct {
	Key      string         `json:"key,omitzero" doc:"Its key, where that is UTF-8."`
	KeyData  []byte         `json:"keyData,omitzero" doc:"Its key in base64, where it is not."`
	Revision int64          `json:"revision,omitzero" doc:"Another number after each change. In what is loaded it means nothing."`
	JSON     jsontext.Value `json:"json,omitzero" doc:"The value, where it is JSON."`
	Text     *string        `json:"text,omitzero" doc:"The value, where it is UTF-8 but not JSON."`
	Data     []byte         `json:"data,omitzero" doc:"The value in base64, where it is neither."`
}

// Bytes are the value's bytes.
func (e *StateEntry) Bytes() []byte {
	return (&Record{JSON: e.JSON, Text: e.Text, Data: e.Data}).Bytes()
}

// Name is the key, whatever its bytes are.
func (e *StateEntry) Name() string {
	if e.KeyData != nil {
		return string(e.KeyData)
	}
	return e.Key
}

// StateEntryList is the answer of GET /v1/state/{name}/entries.
type StateEntryList struct {
	Entries []StateEntry `json:"entries" doc:"The entries, by the order of their keys' bytes: at most 1,000, and 1 MiB of them unless one alone is larger."`
	More    bool         `json:"more,omitzero" doc:"Others follow: ask with after, the last key."`
}

// StoredEntry is the answer of PUT /v1/state/{name}/entries/{key}.
type StoredEntry struct {
	Revision int64 `json:"revision" doc:"The entry's revision."`
	Bytes    int   `json:"bytes" doc:"How long the value is."`
}

// LoadedEntries is the answer of POST /v1/state/{name}/entries.
type LoadedEntries struct {
	Loaded int64 `json:"loaded" doc:"How many entries are on disk."`
}

// MappingConfig is what an event source mapping is made with: the body of PUT
// /v1/mappings/{name}.
type MappingConfig struct {
	Stream           string    `json:"stream" doc:"The stream to read."`
	Function         string    `json:"function" doc:"The function to call."`
	BatchSize        int       `json:"batchSize,omitzero" minimum:"1" maximum:"10000" default:"100" some:"1 to 10000 records" doc:"The most records of one call."`
	BatchWindow      Duration  `json:"batchWindow,omitzero" example:"500ms" doc:"How long to wait for a batch to fill: 0s to 5m."`
	StartingPosition string    `json:"startingPosition,omitempty" some:"oldest, newest or timestamp" enum:"oldest,newest,timestamp" default:"oldest" doc:"Where a shard without checkpoint is begun."`
	StartingTime     time.Time `json:"startingTime,omitzero" doc:"With startingPosition timestamp: the arrival time to begin at."`
	MaxAttempts      int       `json:"maxAttempts,omitzero" minimum:"0" maximum:"10001" doc:"How often a batch is tried; 0 is without limit."`
	MaxRecordAge     Duration  `json:"maxRecordAge,omitzero" doc:"The age at which a record that is not settled is given up: 60s to 7d; 0s is without limit."`
	Deaggregate      *bool     `json:"deaggregate,omitzero" default:"true" doc:"Hand over the user records of KPL-aggregated records; false hands over the aggregates as they are stored."`

	Parallelization    int               `json:"parallelization,omitzero" minimum:"1" maximum:"10" default:"1" some:"1 to 10 lanes" doc:"How many batches of a shard are handed over side by side; the records of a partition key come in order."`
	TumblingWindow     Duration          `json:"tumblingWindow,omitzero" example:"1m" doc:"The length of windows with a state that goes from call to call: 1s to 15m. Left out or 0s: none. Not with several lanes."`
	ReportItemFailures bool              `json:"reportItemFailures,omitzero" doc:"Functions that take Lambda's event: what they say in batchItemFailures counts. What functions of the SDK say always does."`
	Filters            []string          `json:"filters,omitempty" maxItems:"10" doc:"Event patterns, at most 10 of at most 4096 characters: the function has the records that one of them matches. Left out: all records."`
	Bisect             bool              `json:"bisect,omitzero" doc:"Halve a batch that fails and deliver the halves one after the other, each with all its attempts."`
	Isolate            bool              `json:"isolate,omitzero" doc:"Look for the one record of a batch that fails at once, by halving; it alone is tried again and given up. Goes before bisect."`
	ExactlyOnce        bool              `json:"exactlyOnce,omitzero" doc:"Put what the function emits into streams once, also when a call is made again after a crash. A function that emits to several streams must emit the same for the same records."`
	OnFailure          string            `json:"onFailure,omitempty" doc:"Where records that are given up or rejected are stored before the checkpoint passes them: stream:NAME, s3://bucket/prefix, https://host/path, http://host/path or file:///folder. Left out: nowhere."`
	FailureTrace       *bool             `json:"failureTrace,omitzero" default:"true" doc:"Tell in what is stored at onFailure how the function failed: message and stack of its trap or error, or why it rejected the records. false: documents as AWS Lambda's."`
	Qualifier          string            `json:"qualifier,omitempty" doc:"The version of the function: $LATEST, its number, or an alias. Left out: $LATEST."`
	Consumer           string            `json:"consumer,omitempty" doc:"The registered consumer of the stream to read as; cannot be changed."`
	Disabled           *bool             `json:"disabled,omitzero" doc:"Nothing runs, and the checkpoints stay. Left out: a mapping that is there stays paused or at work, and one that is made is at work."`
	EventCounts        bool              `json:"eventCounts,omitzero" doc:"Count the events of each shard as metrics."`
	Tags               map[string]string `json:"tags,omitempty" doc:"Up to 50 tags: keys of 1 to 128 characters, values of up to 256."`
	Capsules           *CapsuleConfig    `json:"capsules,omitempty" doc:"Which invocations are kept so that they can be made again. Left out: none."`
}

// CapsuleConfig says which invocations of a mapping are kept so that they can be made again.
type CapsuleConfig struct {
	Failed bool     `json:"failed,omitzero" doc:"Those that fail, or ask for records again or reject some."`
	Slow   Duration `json:"slow,omitzero" example:"500ms" doc:"Those that take longer: 1ms to 15m. Left out or 0s: none."`
	Sample float64  `json:"sample,omitzero" minimum:"0" maximum:"1" doc:"This part of all others."`
}

// Capsule is what a list shows of an invocation that was kept.
type Capsule struct {
	ID         string    `json:"id" doc:"The invocation's id."`
	Made       time.Time `json:"made" doc:"When the invocation began."`
	Why        string    `json:"why" doc:"failed, slow or sampled."`
	Function   string    `json:"function" doc:"The function."`
	Version    int       `json:"version" doc:"The version that ran."`
	Digest     string    `json:"digest" doc:"sha256:… of its module."`
	Mapping    string    `json:"mapping,omitempty" doc:"The event source mapping."`
	Stream     string    `json:"stream,omitempty" doc:"The stream."`
	Shard      string    `json:"shard,omitempty" doc:"The shard."`
	First      Sequence  `json:"first,omitzero" doc:"The first record's sequence number."`
	Last       Sequence  `json:"last,omitzero" doc:"The last record's sequence number."`
	Records    int       `json:"records,omitzero" doc:"How many records it holds."`
	Outcome    string    `json:"outcome" doc:"What the invocation came to: ok, or how the function failed."`
	Message    string    `json:"message,omitempty" doc:"What the error says."`
	Reproduced bool      `json:"reproduced" doc:"Whether the call, made again in a new instance, came to the same."`
	Size       Size      `json:"size" doc:"The size of its file in bytes."`
}

// CapsuleList is the answer of GET /v1/capsules.
type CapsuleList struct {
	Capsules []Capsule `json:"capsules" doc:"Those that are kept, the newest first."`
}

// SeekMapping is the body of POST /v1/mappings/{name}/seek: a position, or a shard's sequence number.
type SeekMapping struct {
	Position string       `json:"position,omitempty" some:"oldest, newest or timestamp" enum:"oldest,newest,timestamp" doc:"Where to go on."`
	Time     time.Time    `json:"time,omitzero" doc:"With position timestamp: the arrival time to go on at."`
	Sequence RecordNumber `json:"sequence,omitempty" doc:"The record to go on with, in place of a position; needs shard, unless it is AWS's number, which tells it."`
	Shard    string       `json:"shard,omitempty" doc:"The shard to move. Left out: all of them."`
}

// Mapping is an event source mapping and how it does.
type Mapping struct {
	Name     string    `json:"name" doc:"The mapping's name."`
	ID       string    `json:"id" doc:"Tells a mapping from an earlier one of the same name."`
	Created  time.Time `json:"created" doc:"When it was made."`
	Modified time.Time `json:"modified" doc:"When its settings were last changed."`
	MappingConfig
	State      string         `json:"state" doc:"enabled, disabled, blocked (its function is missing), failed (its stream is gone), deleting or stopped."`
	Reason     string         `json:"reason,omitempty" doc:"Why the state is not enabled."`
	Warning    string         `json:"warning,omitempty" doc:"What may not be meant so: the function may emit to the stream that it reads, or a filter asks for a field that no record has."`
	LastResult string         `json:"lastResult,omitempty" doc:"How the last call went: ok, partial, failed, throttled or refused."`
	Counts     MappingCounts  `json:"counts" doc:"Totals of all shards since the host started."`
	Shards     []MappingShard `json:"shards,omitempty" doc:"How far each shard is; left out in a list of mappings."`
	Shadow     *Shadow        `json:"shadow,omitempty" doc:"The version that is tried beside the one that serves; left out when there is none."`
}

// MappingCounts are totals since the host started.
type MappingCounts struct {
	Invocations uint64 `json:"invocations" doc:"Calls of the function, of every result."`
	OK          uint64 `json:"ok" doc:"Calls that settled all their records."`
	Partial     uint64 `json:"partial" doc:"Calls that asked for records again."`
	Failed      uint64 `json:"failed" doc:"Calls in which the function failed."`
	Throttled   uint64 `json:"throttled" doc:"Calls that found no free instance."`
	Refused     uint64 `json:"refused" doc:"Calls that the host could not make, or whose outputs it could not put."`
	Delivered   uint64 `json:"delivered" doc:"Records handed to the function; each delivery counts."`
	Settled     uint64 `json:"settled" doc:"Records that the function settled."`
	Dropped     uint64 `json:"dropped" doc:"Of these, as dropped."`
	Rejected    uint64 `json:"rejected" doc:"Of these, as rejected."`
	GivenUp     uint64 `json:"givenUp" doc:"Records given up: attempts exhausted, or too old."`
	Sent        uint64 `json:"sent" doc:"Records stored at the on-failure destination."`
	Skipped     uint64 `json:"skipped" doc:"Records that had expired or been lost before they could be delivered."`
	Retries     uint64 `json:"retries" doc:"Deliveries beyond a batch's first."`
	Polled      uint64 `json:"polled" doc:"Records read."`
	Filtered    uint64 `json:"filtered" doc:"Of these, what no filter matched."`
}

// MappingShard is how far a mapping is in one shard.
type MappingShard struct {
	Shard       string        `json:"shard" doc:"The shard."`
	State       string        `json:"state" doc:"waiting (for its parents to be read), running, retrying, blocked, damaged, stopped or ended."`
	Checkpoint  Sequence      `json:"checkpoint,omitzero" doc:"The last sequence number that is settled; left out when none is."`
	IteratorAge Duration      `json:"iteratorAge" doc:"The age of the oldest record that is not settled; 0s when there is none."`
	Attempt     int           `json:"attempt,omitzero" doc:"Which delivery of the batch in hand this is."`
	LastResult  string        `json:"lastResult,omitempty" doc:"How the last call went: ok, partial, failed, throttled or refused."`
	LastError   string        `json:"lastError,omitempty" doc:"Why the shard is not running, or what the last failed call said."`
	LastTime    time.Time     `json:"lastTime,omitzero" doc:"When the last call ended."`
	LastGivenUp *GivenUp      `json:"lastGivenUp,omitempty" doc:"The last records that were given up."`
	Counts      MappingCounts `json:"counts" doc:"Totals since the host started."`
}

// GivenUp tells of records that a mapping gave up.
type GivenUp struct {
	First    Sequence  `json:"first" doc:"The first of them."`
	Last     Sequence  `json:"last" doc:"The last of them."`
	Records  int       `json:"records" doc:"How many they are."`
	Attempts int       `json:"attempts" doc:"How often they were delivered."`
	Reason   string    `json:"reason" doc:"Why they were given up."`
	Error    string    `json:"error,omitempty" doc:"What the last delivery said."`
	Time     time.Time `json:"time" doc:"When."`
}

// MappingList is the answer of GET /v1/mappings.
type MappingList struct {
	Mappings []Mapping `json:"mappings" doc:"All mappings, sorted by name, without their shards."`
}

// Version is the answer of GET /v1/version.
type Version struct {
	Version string `json:"version" doc:"The host's version."`
	Go      string `json:"go" doc:"The Go release it was built with."`
	OS      string `json:"os" doc:"The operating system it runs on."`
	Arch    string `json:"arch" doc:"The processor it runs on."`
}

// anyJSON stands for jsontext.Value in the OpenAPI document: any value.
type anyJSON struct{}

// Schema is the empty schema.
func (anyJSON) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }
