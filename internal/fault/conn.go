package fault

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/redis/rueidis"
)

const (
	stepTLS       = "check REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE, REDIS_TLS_KEY_FILE and REDIS_TLS_SERVER_NAME"
	stepPlain     = "the server speaks no TLS on this port: use its TLS port, or a redis:// URL"
	stepNode      = "the cluster has no node for this slot now: retry after the failover"
	stepNoReplies = "the server lacks RESP3 or client tracking, or the ACL refuses them"
)

// neverSent recognises the errors from before a command can leave: no connection was made, or its
// handshake failed.
func neverSent(err error) (class error, step string, ok bool) {
	switch {
	case errors.Is(err, rueidis.ErrNoSlot), errors.Is(err, rueidis.ErrNoAddr):
		return ErrUnavailable, stepNode, true
	case errors.Is(err, rueidis.ErrDedicatedClientRecycled):
		return ErrUnavailable, stepClosed, true
	case errors.Is(err, rueidis.ErrNoCache):
		// The text is the server's answer to a command of the handshake.
		class, step = classifyReply(err.Error())
		if class == nil {
			step = stepNoReplies
		}
		return class, step, true
	case errors.Is(err, rueidis.ErrRESP2PubSubMixed):
		return nil, stepNoReplies, true
	}
	if class, step, ok = handshake(err); ok {
		return class, step, true
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return ErrUnavailable, stepReach, true
	}
	var dns *net.DNSError
	if errors.As(err, &dns) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrUnavailable, stepReach, true
	}
	return nil, "", false
}

// handshake recognises a failed TLS handshake. A certificate that one side refuses is ErrDenied:
// retrying does not help.
func handshake(err error) (class error, step string, ok bool) {
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) {
		return ErrUnavailable, stepPlain, true
	}
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) {
		return ErrDenied, stepTLS, true
	}
	// In TLS 1.3 the server's refusal of a client certificate comes after our side has finished, on
	// the first read: before any command but the handshake's own. The type of a remote
	// alert is not exported, its text is that of the exported one.
	var alert tls.AlertError
	if errors.As(err, &alert) && slices.Contains(handshakeAlerts(), alert) {
		return ErrDenied, stepTLS, true
	}
	var remote *net.OpError
	if errors.As(err, &remote) && remote.Op == "remote error" {
		for _, alert := range handshakeAlerts() {
			if remote.Err.Error() == alert.Error() {
				return ErrDenied, stepTLS, true
			}
		}
	}
	return nil, "", false
}

// handshakeAlerts are those that can only end a handshake (RFC 8446, section 6.2).
func handshakeAlerts() []tls.AlertError {
	return []tls.AlertError{
		40,                 // handshake_failure
		42, 43, 44, 45, 46, // bad, unsupported, revoked, expired, unknown certificate
		47,     // illegal_parameter
		48, 49, // unknown_ca, access_denied
		51,     // decrypt_error: a signature that does not verify
		70, 71, // protocol_version, insufficient_security
		86,       // inappropriate_fallback
		109, 110, // missing, unsupported extension
		112,      // unrecognized_name
		115, 116, // unknown_psk_identity, certificate_required
		120, // no_application_protocol
	}
}

// unreadable recognises a reply that arrived whole and is of an unexpected shape.
func unreadable(err error) bool {
	var number *strconv.NumError
	var syntax *json.SyntaxError
	var shape *json.UnmarshalTypeError
	if rueidis.IsParseErr(err) || errors.As(err, &number) || errors.As(err, &syntax) || errors.As(err, &shape) {
		return true
	}
	text := err.Error()
	return strings.HasPrefix(text, "got ") || strings.HasPrefix(text, "redis message ")
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		return true
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
