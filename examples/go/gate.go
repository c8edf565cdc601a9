package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	latchkeyv1 "example.com/latchkey-client/gen/latchkey/v1"
)

// A Caller is what Latchkey says about a request: principal, organization, permissions.
type Caller = latchkeyv1.AuthenticateResponse

// A Refusal is a decision: the request must be answered with this status. Any other error is no decision, and
// the request must not be served either.
type Refusal struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
}

func (r *Refusal) Error() string { return fmt.Sprintf("%d %s", r.Status, r.Reason) }

// A Gate asks Latchkey about requests.
type Gate struct {
	Conn grpc.ClientConnInterface
	// CallerKey is this service's own internal key. Empty where Latchkey answers whoever asks.
	CallerKey string
}

type callerKey struct{}

// CallerOf returns who makes a request that came through Require.
func CallerOf(ctx context.Context) *Caller {
	caller, _ := ctx.Value(callerKey{}).(*Caller)
	return caller
}

// Require serves what its caller may do, with all of these permissions, and refuses everything else.
func (g *Gate) Require(next http.Handler, permissions ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := g.Authenticate(r.Context(), r.Header, permissions...)
		if err != nil {
			refuse(w, err)
			return
		}
		r = r.Clone(context.WithValue(r.Context(), callerKey{}, caller))
		for _, name := range caller.StripHeaders {
			r.Header.Del(name)
		}
		next.ServeHTTP(w, r)
	})
}

// Authenticate asks about the headers of a request, or about the metadata of a gRPC call.
func (g *Gate) Authenticate(ctx context.Context, headers map[string][]string, permissions ...string) (*Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if g.CallerKey != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-internal-key", g.CallerKey)
	}
	question := &latchkeyv1.AuthenticateRequest{RequiredPermissions: permissions}
	for name, values := range headers {
		for _, value := range values {
			// A header may hold any bytes (RFC 9110 section 5.5), a message only UTF-8. No credential has others.
			value = strings.ToValidUTF8(value, "\uFFFD")
			question.Headers = append(question.Headers, &latchkeyv1.Header{Name: name, Value: value})
		}
	}
	caller, err := latchkeyv1.NewAuthenticationServiceClient(g.Conn).Authenticate(ctx, question)
	if refusal := refusalOf(err); refusal != nil {
		return nil, refusal
	}
	return caller, err
}

var statuses = map[codes.Code]int{
	codes.InvalidArgument:   http.StatusBadRequest,
	codes.Unauthenticated:   http.StatusUnauthorized,
	codes.PermissionDenied:  http.StatusForbidden,
	codes.ResourceExhausted: http.StatusTooManyRequests,
}

// A decision has one of four codes and a reason of Latchkey's: a proxy may answer with the same codes.
func refusalOf(err error) *Refusal {
	answer := status.Convert(err)
	for _, detail := range answer.Details() {
		info, _ := detail.(*errdetails.ErrorInfo)
		if code, ok := statuses[answer.Code()]; ok && info.GetDomain() == "latchkey" {
			return &Refusal{Status: code, Reason: info.Reason}
		}
	}
	return nil
}

func refuse(w http.ResponseWriter, err error) {
	refusal, ok := err.(*Refusal)
	if !ok {
		slog.Error("Latchkey did not decide", "error", err)
		refusal = &Refusal{Status: http.StatusServiceUnavailable, Reason: "UNAVAILABLE"}
	}
	if refusal.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer") // RFC 9110 section 15.5.2
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(refusal.Status)
	json.NewEncoder(w).Encode(refusal)
}
