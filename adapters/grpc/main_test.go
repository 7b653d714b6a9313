package redstartgrpc_test

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	redstartgrpc "github.com/redstart-go/redstart/adapters/grpc"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestMain(m *testing.M) { rig.Main(m) }

var open = rigclient.Open

// health is a service whose calls run a function of the test.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	call func(ctx context.Context) error
}

func (h *health) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, h.call(ctx)
}

func (h *health) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	return h.call(stream.Context())
}

// serve starts a gRPC server with guards, and returns a client of it.
func serve(t testing.TB, call func(ctx context.Context) error, guards ...redstartgrpc.Guard) grpc_health_v1.HealthClient {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.UnaryInterceptor(redstartgrpc.Unary(guards...)), grpc.StreamInterceptor(redstartgrpc.Stream(guards...)))
	grpc_health_v1.RegisterHealthServer(server, &health{call: call})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///shop", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return grpc_health_v1.NewHealthClient(conn)
}
