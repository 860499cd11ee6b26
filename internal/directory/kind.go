package directory

// commandKind is the first byte of an encoded command. The list is append-only.
type commandKind uint8

const (
	kindBootstrap commandKind = iota + 1
	kindAddNode
	kindUpdateNode
	kindSetNodeState
	kindCreateShard
	kindSetReplicas
	kindSetShardState
	kindRemoveShard
	kindReserveTenant
	kindActivateTenant
	kindAbandonTenant
	kindRenameTenant
	kindBeginMove
	kindFlipMove
	kindAbortMove
	kindEndMove
	kindEraseTenant
	kindCreateToken
	kindRevokeToken
	kindSetOperators
	kindSetCA
	kindSetSetting
	kindBarrier
)

func (Bootstrap) kind() commandKind { return kindBootstrap }
func (Bootstrap) validate() error { return nil }
func (AddNode) kind() commandKind { return kindAddNode }
func (AddNode) validate() error { return nil }
func (UpdateNode) kind() commandKind { return kindUpdateNode }
func (UpdateNode) validate() error { return nil }
func (SetNodeState) kind() commandKind { return kindSetNodeState }
func (SetNodeState) validate() error { return nil }
func (CreateShard) kind() commandKind { return kindCreateShard }
func (CreateShard) validate() error { return nil }
func (SetReplicas) kind() commandKind { return kindSetReplicas }
func (SetReplicas) validate() error { return nil }
func (SetShardState) kind() commandKind { return kindSetShardState }
func (SetShardState) validate() error { return nil }
func (RemoveShard) kind() commandKind { return kindRemoveShard }
func (RemoveShard) validate() error { return nil }
func (ReserveTenant) kind() commandKind { return kindReserveTenant }
func (ReserveTenant) validate() error { return nil }
func (ActivateTenant) kind() commandKind { return kindActivateTenant }
func (ActivateTenant) validate() error { return nil }
func (AbandonTenant) kind() commandKind { return kindAbandonTenant }
func (AbandonTenant) validate() error { return nil }
func (RenameTenant) kind() commandKind { return kindRenameTenant }
func (RenameTenant) validate() error { return nil }
func (BeginMove) kind() commandKind { return kindBeginMove }
func (BeginMove) validate() error { return nil }
func (FlipMove) kind() commandKind { return kindFlipMove }
func (FlipMove) validate() error { return nil }
func (AbortMove) kind() commandKind { return kindAbortMove }
func (AbortMove) validate() error { return nil }
func (EndMove) kind() commandKind { return kindEndMove }
func (EndMove) validate() error { return nil }
func (EraseTenant) kind() commandKind { return kindEraseTenant }
func (EraseTenant) validate() error { return nil }
func (CreateToken) kind() commandKind { return kindCreateToken }
func (CreateToken) validate() error { return nil }
func (RevokeToken) kind() commandKind { return kindRevokeToken }
func (RevokeToken) validate() error { return nil }
func (SetOperators) kind() commandKind { return kindSetOperators }
func (SetOperators) validate() error { return nil }
func (SetCA) kind() commandKind { return kindSetCA }
func (SetCA) validate() error { return nil }
func (SetSetting) kind() commandKind { return kindSetSetting }
func (SetSetting) validate() error { return nil }
func (Barrier) kind() commandKind { return kindBarrier }
func (Barrier) validate() error { return nil }
