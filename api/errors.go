package api

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/internal/secrets"
	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

// sentinels is the one table from the engines' errors to kinds of problem, and
// so to statuses. The first row that matches counts. advice says what to do.
var sentinels = []struct {
	err    error
	kind   Kind
	advice string
}{
	{shards.ErrNotFound, KindStreamNotFound, "GET /v1/streams lists the streams there are; PUT /v1/streams/{name} makes one."},
	{shards.ErrNoShard, KindShardNotFound, "GET /v1/streams/{name} lists the stream's shards."},
	{shards.ErrExists, KindConflict, "Ask for the shape it has, or delete it first."},
	{shards.ErrShardClosed, KindConflict, "GET /v1/streams/{name} lists the shards that are open."},
	{shards.ErrNotAdjacent, KindConflict, "GET /v1/streams/{name} lists the shards with their hash keys."},
	{shards.ErrBusy, KindConflict, "Try again in a moment."},
	{shards.ErrThrottled, KindRateExceeded, "Put the record again in a moment, or PATCH the stream's limits."},
	{shards.ErrRevision, KindConflict, "Read it again and decide anew."},
	{shards.ErrDamaged, KindDamaged, "GET /v1/streams/{name}/damage names what is damaged; POST …/damage/accept gives it up."},
	{shards.ErrNoSpace, KindNoSpace, adviceNoSpace},
	{shards.ErrFiles, KindTooManyFiles, "Delete streams, or start the host with a higher limit of open files (ulimit -n, LimitNOFILE)."},
	{shards.ErrReadOnly, KindNoSpace, "The host's disk takes no writes: mend that; then send it again."},
	{shards.ErrDisk, KindNoSpace, "The host's disk fails at writing: see its log; nothing acknowledged is lost."},
	{shards.ErrUnavailable, KindInternal, "The stream could not be opened: see the host's log."},
	{shards.ErrClosed, KindStopping, "Try again when the host is back."},
	{runtime.ErrUntrusted, KindUntrusted, "Send the parameter signature: an ed25519 signature over the text of the module's digest, by a key that the host trusts."},
	{runtime.ErrNoVersion, KindVersionNotFound, "GET /v1/functions/{name} lists the function's versions."},
	{runtime.ErrNoAlias, KindAliasNotFound, "GET /v1/functions/{name} lists the function's aliases."},
	{runtime.ErrInUse, KindInUse, "Deploy or name another version first."},
	{runtime.ErrNotFound, KindFunctionNotFound, "GET /v1/functions lists the functions there are; PUT /v1/functions/{name} deploys one."},
	{runtime.ErrNoSpace, KindNoSpace, adviceNoSpace},
	{runtime.ErrNothingReserved, KindNothingReserved, "PUT /v1/functions/{name}/concurrency does that."},
	{runtime.ErrThrottled, KindThrottled, "Try again in a moment, or raise its concurrency."},
	{runtime.ErrUnsupported, KindCannotServe, "Deploy a module that handles this kind of call."},
	{runtime.ErrCompilerEnded, KindInternal, "It is not the code's fault. See how much memory the machine has left; then deploy it again."},
	{runtime.ErrUnavailable, KindInternal, "Deploy the function's code again, and see the host's log."},
	{runtime.ErrSuperseded, KindConflict, "GET /v1/functions/{name} says what it is now; deploy this again if it is to be the newest."},
	{runtime.ErrClosed, KindStopping, "Try again when the host is back."},
	{secrets.ErrNotFound, KindSecretNotFound, "GET /v1/secrets lists the secrets there are; PUT /v1/secrets/{name} sets one."},
	{secrets.ErrKey, KindInternal, "The host's key of the secrets cannot be used: see the host's log."},
	{state.ErrConflict, KindConflict, "GET …/entries/{key} says what it is now; decide anew."},
	{state.ErrFull, KindStateFull, "Delete entries, or have the host started with larger limits (--state-table-limit, --state-limit)."},
	{state.ErrDamaged, KindDamaged, "Put or delete the entry, expecting nothing of it."},
	{state.ErrNoSpace, KindNoSpace, adviceNoSpace},
	{state.ErrFailed, KindNoSpace, "See the host's log; it has to be started again."},
	{state.ErrClosed, KindStopping, "Try again when the host is back."},
	{triggers.ErrNotFound, KindMappingNotFound, "GET /v1/mappings lists the mappings there are; PUT /v1/mappings/{name} makes one."},
	{triggers.ErrNoShadow, KindShadowNotFound, "PUT /v1/mappings/{name}/shadow makes one."},
	{triggers.ErrNoSpace, KindNoSpace, adviceNoSpace},
	{triggers.ErrConflict, KindConflict, ""}, // it says itself what to do,
	{triggers.ErrChanged, KindConflict, "GET /v1/mappings/{name} says what it is now; decide anew."},
	{triggers.ErrFailed, KindConflict, "GET /v1/mappings/{name} says why; delete it and make it anew."},
	{triggers.ErrClosed, KindStopping, "Try again when the host is back."},
	{context.Canceled, KindStopping, "The request was given up."},
	{context.DeadlineExceeded, KindStopping, "The request took too long and was given up."},
}

// adviceNoSpace names what works on a full disk as well.
const adviceNoSpace = "Delete a stream or a function, shorten a retention (PATCH /v1/streams/{name}, shardmill stream update), or make space on the host's disk; then send it again."

// problemOf is the problem that an error is answered with. Errors that nothing
// is known about are the host's failure: their text goes to the log, not to the
// client.
func problemOf(err error) *Problem {
	var known *Problem
	if errors.As(err, &known) {
		return known
	}
	if p := refusal(err); p != nil {
		return p
	}
	var failed *runtime.FunctionError
	if errors.As(err, &failed) {
		p := problem(KindFunctionFailed, "").because(reasonOf(failed), "Its log lines of invocation "+failed.Invocation+" may say more.")
		p.Function = &FunctionFailure{
			Name: failed.Function, Version: failed.Version, Kind: string(failed.Kind), Message: failed.Message,
			Stack: failed.Stack, Invocation: failed.Invocation,
		}
		if failed.Kind == runtime.FailExit {
			p.Function.ExitCode = &failed.ExitCode
		}
		return p
	}
	for _, row := range sentinels {
		if !errors.Is(err, row.err) {
			continue
		}
		p := problem(row.kind, "").because(reasonOf(err), row.advice)
		var damage *shards.DamageError
		if errors.As(err, &damage) {
			wire := damageOf(*damage)
			p.Damage = &wire
		}
		return p
	}
	return problem(KindInternal, "The host failed at this; its log says why. It may be tried again.")
}

// packageNames are what the engines' errors begin with.
var packageNames = regexp.MustCompile(`(^|: )(shards|runtime|triggers|journal|catalog|secrets|state): `)

// reasonOf is an error as a sentence for those who know nothing of the packages.
func reasonOf(err error) string {
	text := packageNames.ReplaceAllString(err.Error(), "$1")
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:] + "."
}

// notFound says by name which thing a path asks for in vain; other problems stay
// as they are.
func (c *call) notFound(p *Problem) *Problem {
	for _, row := range []struct {
		kind         Kind
		prefix, noun string
	}{
		{KindStreamNotFound, "/v1/streams/", "stream"},
		{KindFunctionNotFound, "/v1/functions/", "function"},
		{KindMappingNotFound, "/v1/mappings/", "mapping"},
		{KindSecretNotFound, "/v1/secrets/", "secret"},
	} {
		if p.Kind() == row.kind && strings.HasPrefix(c.r.URL.Path, row.prefix) && p.Put == nil {
			named := *p
			named.because("There is no "+row.noun+" "+quote(c.name())+".", p.advice)
			named.Field, named.Value, named.Limit = "name", cut(c.name()), "the name of a "+row.noun+" that exists"
			return &named
		}
	}
	return p
}

// refusal is the problem of a value that an engine refused, nil for other errors.
func refusal(err error) *Problem {
	var refused *field.Error
	if !errors.As(err, &refused) {
		return nil
	}
	kind := KindInvalidField
	if refused.Field == "code" {
		kind = KindInvalidModule
	}
	p := problem(kind, "%v.", refused)
	p.Field, p.Value, p.Limit = refused.Field, field.Cut(refused.Value), refused.Limit
	return p
}

// damageOf is damage as it goes over the wire.
func damageOf(d shards.DamageError) Damage {
	return Damage{
		Stream: d.Stream, Shard: shards.ShardID(d.Shard).String(), First: Sequence(d.First), Last: Sequence(d.Last),
		File: d.File, Offset: d.Offset, Reason: d.Reason,
	}
}
