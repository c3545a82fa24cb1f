package aws

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/shardmill/shardmill/runtime"
)

// permit adds a permission for S3 to a function's policy, changed.
func (l *lambdaRig) permit(function, id string, change func(*awslambda.AddPermissionInput)) (*awslambda.AddPermissionOutput, error) {
	in := &awslambda.AddPermissionInput{FunctionName: &function, StatementId: &id, Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("s3.amazonaws.com")}
	if change != nil {
		change(in)
	}
	return l.lambda.AddPermission(l.ctx, in)
}

// TestStatements has principals and conditions as tools look for them, and what AWS refuses refused.
func TestStatements(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{}, nil)
	for principal, want := range map[string]string{
		"000000000000": `{"AWS":"000000000000"}`, "arn:aws:iam::000000000000:role/r": `{"AWS":"arn:aws:iam::000000000000:role/r"}`, "alexa-appkit.amazon.com": `{"Service":"alexa-appkit.amazon.com"}`,
	} {
		got := *ok(l.permit("f", "s", func(in *awslambda.AddPermissionInput) {
			in.Principal, in.PrincipalOrgID, in.EventSourceToken, in.FunctionUrlAuthType = &principal, aws.String("o-1234567890"), aws.String("t"), types.FunctionUrlAuthTypeNone
		}))(t).Statement
		condition := `"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1234567890","lambda:EventSourceToken":"t","lambda:FunctionUrlAuthType":"NONE"}}`
		if !strings.Contains(got, `"Principal":`+want) || !strings.Contains(got, condition) {
			t.Errorf("statement %s, want %s and %s", got, want, condition)
		}
		ok(l.lambda.RemovePermission(l.ctx, &awslambda.RemovePermissionInput{FunctionName: aws.String("f"), StatementId: aws.String("s")}))(t)
	}
	const pattern = "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s"
	_, err := l.permit("f", "s", func(in *awslambda.AddPermissionInput) { in.Action = aws.String("InvokeFunction") })
	refused(t, err, "ValidationException", fmt.Sprintf(pattern, "InvokeFunction", "action", "(lambda:[*]|lambda:[a-zA-Z]+|[*])"))
	_, err = l.permit("f", "s", func(in *awslambda.AddPermissionInput) { in.Principal = aws.String("a b") })
	refused(t, err, "ValidationException", fmt.Sprintf(pattern, "a b", "principal", `[^\s]+`))
	_, err = l.permit("f", "a.b", nil)
	refused(t, err, "ValidationException", fmt.Sprintf(pattern, "a.b", "statementId", "([a-zA-Z0-9-_]+)"))
}

// TestPoliciesOfQualifiers has a policy for a function and one for each of its aliases, as on AWS: a statement's ID is that of one of them, and
// what is said of an alias goes with it.
func TestPoliciesOfQualifiers(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{}, func(in *awslambda.CreateFunctionInput) { in.Publish = true })
	f, live := aws.String("f"), aws.String("live")
	createLive := func() {
		ok(l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: f, Name: live, FunctionVersion: aws.String("1")}))(t)
	}
	createLive()
	to := func(qualifier string) func(*awslambda.AddPermissionInput) {
		return func(in *awslambda.AddPermissionInput) { in.Qualifier = aws.String(qualifier) }
	}
	plain := *ok(l.permit("f", "s", nil))(t).Statement
	ofAlias := *ok(l.permit("f", "s", to("live")))(t).Statement
	ofVersion := *ok(l.permit("f:1", "s", nil))(t).Statement
	if !strings.Contains(ofAlias, `"Resource":"`+lambdaARN+`function:f:live"`) || !strings.Contains(ofVersion, `function:f:1"`) {
		t.Errorf("%s, %s", ofAlias, ofVersion)
	}
	_, err := l.permit("f", "s", to("live"))
	refusedWith[*types.ResourceConflictException](t, err, 409, "The statement id (s) provided already exists. Please provide a new statement id, or remove the existing statement.")
	_, err = l.permit("f", "s", to("$LATEST"))
	refusedWith[*types.InvalidParameterValueException](t, err, 400, "We currently do not support adding policies for $LATEST.")
	policy := func(qualifier *string) (*awslambda.GetPolicyOutput, error) {
		return l.lambda.GetPolicy(l.ctx, &awslambda.GetPolicyInput{FunctionName: f, Qualifier: qualifier})
	}
	for want, qualifier := range map[string]*string{plain: nil, ofAlias: live, ofVersion: aws.String("1")} {
		if got := *ok(policy(qualifier))(t).Policy; !strings.HasSuffix(got, `"Statement":[`+want+`]}`) {
			t.Errorf("policy %s, want %s", got, want)
		}
	}
	ok(l.lambda.RemovePermission(l.ctx, &awslambda.RemovePermissionInput{FunctionName: f, StatementId: aws.String("s")}))(t)
	_, err = policy(nil)
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "The resource you requested does not exist.")
	ok(policy(live))(t)
	ok(l.lambda.DeleteAlias(l.ctx, &awslambda.DeleteAliasInput{FunctionName: f, Name: live}))(t)
	createLive()
	_, err = policy(live)
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "The resource you requested does not exist.")
	ok(policy(aws.String("1")))(t)
}

// TestAliasMadeAgainNatively has nothing of the alias before it, whatever was done natively, and goes on with what is said of it; a change of an alias takes nothing away.
func TestAliasMadeAgainNatively(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{}, func(in *awslambda.CreateFunctionInput) { in.Publish = true })
	f, live := aws.String("f"), aws.String("live")
	put := func(description string) {
		t.Helper()
		_, _, err := l.functions.PutAlias(l.ctx, "f", runtime.Alias{Name: "live", Version: 1, Description: description})
		l.must(err)
	}
	onLive := func(in *awslambda.AddPermissionInput) { in.Qualifier = live }
	has := func(want string) {
		t.Helper()
		out, err := l.lambda.GetPolicy(l.ctx, &awslambda.GetPolicyInput{FunctionName: f, Qualifier: live})
		config, asyncErr := l.asyncConfig("f", "live")
		if want == "" {
			refusedWith[*types.ResourceNotFoundException](t, err, 404, "The resource you requested does not exist.")
			refusedWith[*types.ResourceNotFoundException](t, asyncErr, 404, "The function "+lambdaARN+"function:f:live doesn't have an EventInvokeConfig")
			return
		}
		if l.must(errors.Join(err, asyncErr)); strings.Count(*out.Policy, "Sid") != 1 || !strings.Contains(*out.Policy, `"Sid":"`+want+`"`) || config == "" {
			t.Errorf("policy %s, EventInvokeConfig %s", *out.Policy, config)
		}
	}
	put("")
	ok(l.permit("f", "one", onLive))(t)
	ok(l.permit("f", "other", nil))(t)
	ok(l.putAsync("f:live", retriesOf(1)))(t)
	put("changed")
	has("one")
	l.must(l.functions.DeleteAlias(l.ctx, "f", "live"))
	put("")
	has("")
	ok(l.permit("f", "one", onLive))(t)
	ok(l.putAsync("f:live", retriesOf(1)))(t)
	has("one")
	ok(l.lambda.GetPolicy(l.ctx, &awslambda.GetPolicyInput{FunctionName: f}))(t)
}

// TestOfAliases has what an earlier host noted without a time stay, and what is as old as the alias.
func TestOfAliases(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := &runtime.Function{Aliases: []runtime.Alias{{Name: "live", Created: at}}}
	r := functionRecord{
		Policy: []statement{{ID: "a", Qualifier: "live"}, {ID: "b", Qualifier: "live", Added: at.Add(-1)}, {ID: "c", Qualifier: "live", Added: at}, {ID: "d", Added: at.Add(-1)}},
		Async:  map[string]asyncConfig{"live": {Modified: at.Add(-1)}, "1": {Modified: at.Add(-1)}},
	}
	got := r.of(f)
	kept := ""
	for _, s := range got.Policy {
		kept += s.ID
	}
	if _, found := got.Async["live"]; kept != "acd" || found || len(got.Async) != 1 || len(r.Policy) != 4 || len(r.Async) != 2 {
		t.Errorf("kept %s, %v; of %v", kept, got.Async, r)
	}
	f.Aliases[0].Created = time.Now().Add(time.Hour)
	if s := since(f, "live"); !s.Equal(f.Aliases[0].Created) {
		t.Errorf("what is added now is of %v, before its alias", s)
	}
}

// TestPolicy keeps statements.
func TestPolicy(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{}, nil)
	f := aws.String("f")
	_, err := l.lambda.GetPolicy(l.ctx, &awslambda.GetPolicyInput{FunctionName: f})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "The resource you requested does not exist.")
	add := func(id string, change func(*awslambda.AddPermissionInput)) (*awslambda.AddPermissionOutput, error) {
		return l.permit("f", id, change)
	}
	one := `{"Sid":"one","Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction","Resource":"` + lambdaARN + `function:f"}`
	if got := *ok(add("one", nil))(t).Statement; got != one {
		t.Errorf("statement %s", got)
	}
	two := *ok(add("two", func(in *awslambda.AddPermissionInput) {
		in.Principal, in.SourceArn, in.SourceAccount = aws.String("*"), aws.String("arn:aws:s3:::b"), aws.String("000000000000")
	}))(t).Statement
	if !strings.Contains(two, `"Principal":"*"`) || !strings.Contains(two, `"Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"},"StringEquals":{"AWS:SourceAccount":"000000000000"}}`) {
		t.Errorf("statement %s", two)
	}
	_, err = add("one", nil)
	refusedWith[*types.ResourceConflictException](t, err, 409, "The statement id (one) provided already exists. Please provide a new statement id, or remove the existing statement.")
	if got := *ok(l.lambda.GetPolicy(l.ctx, &awslambda.GetPolicyInput{FunctionName: f}))(t).Policy; got != `{"Version":"2012-10-17","Id":"default","Statement":[`+one+`,`+two+`]}` {
		t.Errorf("policy %s", got)
	}
	ok(l.lambda.RemovePermission(l.ctx, &awslambda.RemovePermissionInput{FunctionName: f, StatementId: aws.String("one")}))(t)
	_, err = l.lambda.RemovePermission(l.ctx, &awslambda.RemovePermissionInput{FunctionName: f, StatementId: aws.String("one")})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "Statement one is not found in resource policy.")
	for i := 0; err == nil || i == 0; i++ {
		if _, err = add("long"+strconv.Itoa(i), func(in *awslambda.AddPermissionInput) { in.SourceArn = aws.String(strings.Repeat("x", 4000)) }); i > 10 {
			t.Fatal("a policy has no limit")
		}
	}
	refused(t, err, "PolicyLengthExceededException", "")
}
