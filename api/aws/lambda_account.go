package aws

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/shardmill/shardmill/runtime"
)

type permissionInput struct {
	StatementId           string `aws:"required;len=1..100;pattern=statement"`
	Action                string `aws:"required;pattern=action"`
	Principal             string `aws:"required;pattern=principal"`
	SourceArn             string
	SourceAccount         string `aws:"len=0..12"`
	EventSourceToken      string `aws:"len=0..256"`
	FunctionUrlAuthType   string `aws:"enum=NONE,AWS_IAM"`
	InvokedViaFunctionUrl bool
	PrincipalOrgID        string `aws:"len=12..34"`
	RevisionId            string
}

// statementDocument is a statement as IAM writes it.
type statementDocument struct {
	Sid       string
	Effect    string
	Principal any
	Action    string
	Resource  string
	Condition map[string]map[string]string `json:",omitempty"`
}

type statementOutput struct{ Statement string }

// addPermission keeps a statement. It is shown again and decides nothing: whoever reaches the listener may call every function.
func addPermission(c *call, in *permissionInput) (any, error) {
	f, _, _, qualifier, err := c.found()
	if err != nil {
		return nil, err
	}
	if qualifier == runtime.Latest {
		return nil, refuseParameter("We currently do not support adding policies for %s.", runtime.Latest)
	}
	document := statementDocument{Sid: in.StatementId, Effect: "Allow", Action: in.Action, Resource: c.functionARN(f.Name, qualifier), Principal: principalOf(in.Principal)}
	for key, value := range map[string]string{
		"AWS:SourceAccount": in.SourceAccount, "aws:PrincipalOrgID": in.PrincipalOrgID,
		"lambda:EventSourceToken": in.EventSourceToken, "lambda:FunctionUrlAuthType": in.FunctionUrlAuthType,
	} {
		if value != "" {
			document.condition("StringEquals", key, value)
		}
	}
	if in.SourceArn != "" {
		document.condition("ArnLike", "AWS:SourceArn", in.SourceArn)
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	_, err = c.changeRecord(&f, func(r *functionRecord) error {
		if r.findStatement(in.StatementId, qualifier) >= 0 {
			return conflict("The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", in.StatementId)
		}
		if r.Policy = append(r.Policy, statement{in.StatementId, qualifier, since(&f, qualifier), text}); len(r.policyText(qualifier)) > maxPolicy {
			return &fault{code: "PolicyLengthExceededException", status: 400, message: "The final policy size is bigger than the limit (20480)."}
		}
		return nil
	})
	return statementOutput{string(text)}, err
}

// principalOf is who a permission is for, as IAM writes it: everybody, an account, one of its users or roles, or a service. IAM takes the number of an account
// for all of it, and AWS answers that with an ARN, for which Terraform makes the permission again and again.
func principalOf(name string) any {
	_, err := strconv.ParseUint(name, 10, 64)
	switch {
	case name == "*":
		return name
	case err == nil, strings.HasPrefix(name, "arn:"):
		return map[string]string{"AWS": name}
	}
	return map[string]string{"Service": name}
}

func (d *statementDocument) condition(operator, key, value string) {
	if d.Condition == nil {
		d.Condition = map[string]map[string]string{}
	}
	if d.Condition[operator] == nil {
		d.Condition[operator] = map[string]string{}
	}
	d.Condition[operator][key] = value
}

// findStatement is the index of a statement of the policy of a function, or of one of its versions or aliases: each has a policy of its own. -1: there is none.
func (r *functionRecord) findStatement(id, qualifier string) int {
	return slices.IndexFunc(r.Policy, func(s statement) bool { return s.ID == id && s.Qualifier == qualifier })
}

// policyText is the whole policy of a function, a version or an alias; "" is none.
func (r *functionRecord) policyText(qualifier string) string {
	document := struct {
		Version   string
		Id        string
		Statement []json.RawMessage
	}{Version: "2012-10-17", Id: "default"}
	for _, s := range r.Policy {
		if s.Qualifier == qualifier {
			document.Statement = append(document.Statement, s.Document)
		}
	}
	if len(document.Statement) == 0 {
		return ""
	}
	b, err := json.Marshal(document)
	if err != nil {
		panic("aws: encode a policy: " + err.Error()) // of documents that were made here
	}
	return string(b)
}

type lambdaPolicyOutput struct {
	Policy     string
	RevisionId string
}

func getPolicy(c *call) (any, error) {
	f, v, r, qualifier, err := c.found()
	if err != nil {
		return nil, err
	}
	text := r.policyText(qualifier)
	if text == "" {
		return nil, missing("The resource you requested does not exist.")
	}
	return lambdaPolicyOutput{text, revisionOf(&f, &v, &r)}, nil
}

func removePermission(c *call) (any, error) {
	f, _, _, qualifier, err := c.found()
	if err != nil {
		return nil, err
	}
	_, err = c.changeRecord(&f, func(r *functionRecord) error {
		i := r.findStatement(c.params["StatementId"], qualifier)
		if i < 0 {
			return missing("Statement %s is not found in resource policy.", cut(c.params["StatementId"]))
		}
		r.Policy = slices.Delete(r.Policy, i, i+1)
		return nil
	})
	return nil, err
}

type concurrencyInput struct {
	ReservedConcurrentExecutions *int `aws:"required;range=0..0"`
}

// putConcurrency reserves concurrency, over all versions of a function.
func putConcurrency(c *call, in *concurrencyInput) (any, error) {
	f, _, err := c.latest("")
	if err != nil {
		return nil, err
	}
	if n := *in.ReservedConcurrentExecutions; n < 0 || n > runtime.MaxConcurrency {
		return nil, refuseParameter("ReservedConcurrentExecutions is %d; it must be 0 to %d.", n, runtime.MaxConcurrency)
	}
	f, err = c.lambda.functions.Reserve(c.r.Context(), f.Name, *in.ReservedConcurrentExecutions)
	return concurrencyOutput{f.Reserved}, err
}

func getConcurrency(c *call) (any, error) {
	f, _, err := c.latest("")
	if err != nil {
		return nil, err
	}
	if f.Reserved == runtime.Unreserved {
		return struct{}{}, nil
	}
	return concurrencyOutput{f.Reserved}, nil
}

func deleteConcurrency(c *call) (any, error) {
	f, _, err := c.latest("")
	if err != nil {
		return nil, err
	}
	_, err = c.lambda.functions.Reserve(c.r.Context(), f.Name, runtime.Unreserved)
	return nil, err
}

type accountLimit struct {
	TotalCodeSize                  int64
	CodeSizeUnzipped               int
	CodeSizeZipped                 int
	ConcurrentExecutions           int
	UnreservedConcurrentExecutions int
}

type accountUsage struct {
	TotalCodeSize int64
	FunctionCount int
}

type accountSettingsOutput struct {
	AccountLimit accountLimit
	AccountUsage accountUsage
}

// getAccountSettings has the account's limits, which are those of one function: there are no others.
func getAccountSettings(c *call) (any, error) {
	out := accountSettingsOutput{AccountLimit: accountLimit{
		TotalCodeSize: 75 << 30, CodeSizeUnzipped: maxModule, CodeSizeZipped: maxUpload,
		ConcurrentExecutions: runtime.MaxConcurrency, UnreservedConcurrentExecutions: runtime.MaxConcurrency,
	}}
	for _, f := range c.lambda.functions.List() {
		out.AccountUsage.FunctionCount++
		for _, v := range f.Versions {
			out.AccountUsage.TotalCodeSize += int64(v.Size)
		}
	}
	return out, nil
}

// What tools read of a function after they have made it, and what has one answer here.

func getCodeSigning(c *call) (any, error) {
	f, _, err := c.latest("")
	return struct{ CodeSigningConfigArn, FunctionName string }{"", f.Name}, err
}

func getRecursion(c *call) (any, error) {
	_, _, err := c.latest("")
	return struct{ RecursiveLoop string }{"Allow"}, err
}

func getRuntimeManagement(c *call) (any, error) {
	f, _, _, qualifier, err := c.found()
	return struct{ UpdateRuntimeOn, FunctionArn string }{"Auto", c.functionARN(f.Name, qualifier)}, err
}

func getProvisionedConcurrency(c *call) (any, error) {
	if _, _, _, _, err := c.found(); err != nil {
		return nil, err
	}
	if c.r.URL.Query().Get("List") == "ALL" {
		return struct{ ProvisionedConcurrencyConfigs []struct{} }{}, nil
	}
	return nil, &fault{code: "ProvisionedConcurrencyConfigNotFoundException", status: 404, message: "No Provisioned Concurrency Config found for this function"}
}
