package rpc

import (
	v1 "kimberlite/gen/kimberlite/v1/kimberlitev1connect"
	"kimberlite/internal/access"
	"kimberlite/internal/credential"
	"kimberlite/internal/fault"
)

// callers are the sorts of principals that may call a method.
type callers uint8

const (
	operators callers = 1 << iota
	owners
	writers
	readers
	auditors
)

const (
	ofTenant = owners | writers | readers | auditors
	anybody  = operators | ofTenant
)

// methods says who may call what; a procedure that is not here is refused to
// all. It is the first of two fences: what a role may do within SQL and
// streams is enforced again by the handle that a session gives.
//
// Operators are not in any line of SQLService, TransactionService and
// StreamService: they administer tenants and see none of their data.
var methods = map[string]callers{
	v1.TenantServiceCreateTenantProcedure:      operators,
	v1.TenantServiceGetTenantProcedure:         anybody,
	v1.TenantServiceListTenantsProcedure:       anybody,
	v1.TenantServiceUpdateTenantProcedure:      operators,
	v1.TenantServiceGetUsageProcedure:          anybody,
	v1.TenantServiceVerifyProcedure:            anybody,
	v1.TenantServiceRebuildProjectionProcedure: operators | owners,

	v1.SQLServiceExecProcedure:      owners | writers,
	v1.SQLServiceExecBatchProcedure: owners | writers,
	v1.SQLServiceQueryProcedure:     ofTenant,
	v1.SQLServiceQueryAllProcedure:  ofTenant,

	v1.TransactionServiceBeginProcedure:    ofTenant,
	v1.TransactionServiceCommitProcedure:   ofTenant,
	v1.TransactionServiceRollbackProcedure: ofTenant,

	v1.StreamServiceCreateStreamProcedure: owners,
	v1.StreamServiceListStreamsProcedure:  ofTenant,
	v1.StreamServiceAppendProcedure:       owners | writers,
	v1.StreamServiceReadProcedure:         owners | writers | readers,
	v1.StreamServiceTailProcedure:         owners | writers | readers,

	v1.CredentialServiceCreateCredentialProcedure: operators | owners,
	v1.CredentialServiceListCredentialsProcedure:  operators | owners,
	v1.CredentialServiceRevokeCredentialProcedure: operators | owners,
	v1.CredentialServiceCreateOperatorProcedure:   operators,
	v1.CredentialServiceListOperatorsProcedure:    operators,
	v1.CredentialServiceRevokeOperatorProcedure:   operators,

	v1.KeyServiceGetKeyStatusProcedure: operators | owners,
	v1.KeyServiceRotateKeyProcedure:    operators | owners,

	v1.AuditServiceListEntriesProcedure: operators | owners | auditors,
	v1.AuditServiceTailEntriesProcedure: operators | owners | auditors,

	v1.ClusterServiceGetClusterStatusProcedure:   operators,
	v1.ClusterServiceCreateJoinTokenProcedure:    operators,
	v1.ClusterServiceListJoinTokensProcedure:     operators,
	v1.ClusterServiceRevokeJoinTokenProcedure:    operators,
	v1.ClusterServiceListNodesProcedure:          operators,
	v1.ClusterServiceDrainNodeProcedure:          operators,
	v1.ClusterServiceGetDrainProcedure:           operators,
	v1.ClusterServiceRemoveNodeProcedure:         operators,
	v1.ClusterServiceCreateShardProcedure:        operators,
	v1.ClusterServiceRemoveShardProcedure:        operators,
	v1.ClusterServiceListShardsProcedure:         operators,
	v1.ClusterServicePlanRebalanceProcedure:      operators,
	v1.ClusterServiceRebalanceProcedure:          operators,
	v1.ClusterServiceMoveTenantProcedure:         operators,
	v1.ClusterServiceGetMoveProcedure:            operators,
	v1.ClusterServiceListPlacementsProcedure:     operators,
	v1.ClusterServiceGetResidencyProcedure:       operators,
	v1.ClusterServiceRotateCertificatesProcedure: operators,
	v1.ClusterServiceRotateAuthorityProcedure:    operators,

	v1.ServerServiceGetVersionProcedure: anybody,
	v1.ServerServiceGetHealthProcedure:  operators,
	v1.ServerServiceWhoAmIProcedure:     anybody,

	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      anybody,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": anybody,
}

// sortOf returns which sort a principal is of, or none.
func sortOf(p access.Principal) callers {
	if p.Operator {
		return operators
	}
	switch p.Role {
	case credential.Owner:
		return owners
	case credential.Writer:
		return writers
	case credential.Reader:
		return readers
	case credential.Auditor:
		return auditors
	}
	return 0
}

// mayCall refuses a method to those that it is not for.
func mayCall(p access.Principal, procedure string) error {
	allowed := methods[procedure]
	switch sort := sortOf(p); {
	case allowed&sort != 0:
		return nil
	case sort == operators:
		return fault.New("rpc", fault.Denied, "an operator administers tenants and neither reads nor writes their data: use a credential of the tenant")
	case allowed == operators:
		return fault.New("rpc", fault.Denied, "only operators may do this").ForTenant(p.Tenant)
	}
	return fault.New("rpc", fault.Denied, "a credential of the role %s may not do this", p.Role).ForTenant(p.Tenant)
}
