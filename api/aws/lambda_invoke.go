package aws

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

// Limits of invocations.
const (
	maxPayload      = 6291456 // bytes of a payload and of an answer
	maxAsyncPayload = 1 << 20 // of a payload with the invocation type Event
	maxTail         = 4 << 10 // bytes of the log that LogType Tail answers

	// startTime is how much longer than the function's timeout a call may take: for waiting for an instance, and for putting what it emits.
	startTime = 30 * time.Second
)

// invokeFunction calls a function. It answers by itself, because the answer's document is the function's.
func invokeFunction(c *call, body []byte) error {
	f, v, _, qualifier, err := c.found()
	if err != nil {
		return err
	}
	kind := c.r.Header.Get("X-Amz-Invocation-Type")
	if kind == "" {
		kind = "RequestResponse"
	}
	if most := map[string]int{"RequestResponse": maxPayload, "Event": maxAsyncPayload, "DryRun": maxPayload}[kind]; most == 0 {
		return faultf(codeValidation, "1 validation error detected: Value '%s' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]", cut(kind))
	} else if len(body) > most {
		return payloadTooLarge(most, invokeName)
	}
	if kind := c.r.Header.Get("X-Amz-Log-Type"); kind != "" && kind != "None" && kind != "Tail" {
		return faultf(codeValidation, "1 validation error detected: Value '%s' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: [None, Tail]", cut(kind))
	}
	if v.Kinds != 0 && !v.Kinds.Has(runtime.KindInvoke) { // 0: it is being compiled
		return refuseParameter("The function does not handle direct invocations.")
	}
	call := runtime.Call{Function: f.Name, Kind: runtime.KindInvoke, Body: body, ID: c.id}
	if call.Version, call.Alias, err = runtime.ParseQualifier(qualifier); err != nil {
		return err
	}
	if len(body) == 0 {
		call.Body = []byte("{}")
	}
	switch kind {
	case "DryRun":
		return c.answerWith(http.StatusNoContent, nil)
	case "Event":
		if err := c.lambda.events.add(c.r.Context(), call); err != nil {
			return err
		}
		return c.answerWith(http.StatusAccepted, nil)
	}
	return c.invoke(call, v.Config.Timeout)
}

// invokeName is what Lambda's messages call the operation Invoke.
const invokeName = "InvokeFunction"

func payloadTooLarge(most int, operation string) *fault {
	return &fault{code: "RequestTooLargeException", status: http.StatusRequestEntityTooLarge,
		message: fmt.Sprintf("Request must be smaller than %d bytes for the %s operation", most, operation)}
}

// invoke calls a function and waits for it.
func (c *call) invoke(call runtime.Call, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(c.r.Context(), timeout+startTime)
	defer cancel()
	began := time.Now()
	var reply runtime.Reply
	err := c.lambda.functions.Invoke(ctx, call, &reply)
	answer := reply.Body
	if len(answer) == 0 {
		answer = []byte("null")
	}
	var failed *runtime.FunctionError
	switch {
	case errors.As(err, &failed):
		answer = failureDocument(failed, timeout)
	case err != nil:
		return err
	case len(answer) > maxPayload:
		failed = &runtime.FunctionError{}
		answer = encodeFailure("Function.ResponseSizeTooLarge", fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", maxPayload), "")
	}
	header := c.w.Header()
	header.Set("X-Amz-Executed-Version", runtime.Latest)
	if call.Version != 0 || call.Alias != "" {
		header.Set("X-Amz-Executed-Version", versionText(reply.Version))
	}
	if failed != nil {
		header.Set("X-Amz-Function-Error", "Unhandled")
	}
	if c.r.Header.Get("X-Amz-Log-Type") == "Tail" {
		header.Set("X-Amz-Log-Result", base64.StdEncoding.EncodeToString(c.tail(call, &reply, began)))
	}
	c.writeBody(http.StatusOK, answer)
	return nil
}

// failureDocument is a function's failure as Lambda answers it.
func failureDocument(f *runtime.FunctionError, timeout time.Duration) []byte {
	// What the host has stopped is told in the words of Lambda's own runtimes, what the function said in its own.
	prefix := "RequestId: " + f.Invocation + " Error: "
	switch f.Kind {
	case runtime.FailTimeout:
		return encodeFailure("Sandbox.Timedout", fmt.Sprintf("%sTask timed out after %.2f seconds", prefix, timeout.Seconds()), "")
	case runtime.FailMemory:
		return encodeFailure("Runtime.OutOfMemory", prefix+f.Message, f.Stack)
	case runtime.FailExit:
		return encodeFailure("Runtime.ExitError", fmt.Sprintf("%sRuntime exited with error: exit status %d", prefix, f.ExitCode), f.Stack)
	case runtime.FailError:
		return encodeFailure(errorTypeName(f.Type), f.Message, f.Stack)
	}
	return encodeFailure("Runtime."+string(f.Kind), prefix+f.Message, f.Stack)
}

// errorTypeName is the name of an error's type without its package, as Lambda has it: errorString of *errors.errorString.
func errorTypeName(typ string) string {
	name, arguments, generic := strings.Cut(strings.TrimLeft(typ, "*"), "[")
	name = name[strings.LastIndexByte(name, '.')+1:]
	if generic {
		name += "[" + arguments
	}
	return name
}

func encodeFailure(typ, message, stack string) []byte {
	document := struct {
		Message string   `json:"errorMessage"`
		Type    string   `json:"errorType"`
		Stack   []string `json:"stackTrace,omitempty"`
	}{message, typ, nil}
	if stack != "" {
		document.Stack = strings.Split(stack, "\n")
	}
	b, err := json.Marshal(document)
	if err != nil {
		panic("aws: encode a failure: " + err.Error()) // of texts
	}
	return b
}

// tail is the end of what an invocation has logged, between the lines that Lambda writes around it.
func (c *call) tail(call runtime.Call, reply *runtime.Reply, began time.Time) []byte {
	version := runtime.Latest
	if call.Version != 0 || call.Alias != "" {
		version = versionText(reply.Version)
	}
	text := fmt.Appendf(nil, "START RequestId: %s Version: %s\n", call.ID, version)
	lines, err := c.lambda.functions.Logs(c.r.Context(), call.Function, began, false)
	if err == nil {
		for line := range lines {
			if line.Invocation == call.ID {
				text = append(append(text, line.Message...), '\n')
			}
		}
	}
	text = fmt.Appendf(text, "END RequestId: %s\nREPORT RequestId: %s\tDuration: %.2f ms\tMax Memory Used: %d MB\n",
		call.ID, call.ID, float64(reply.Duration.Microseconds())/1000, (reply.MemoryPeak+1<<20-1)>>20)
	return text[max(0, len(text)-maxTail):]
}
