def register_accessors(): pass
