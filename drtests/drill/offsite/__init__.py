"""The offsite drill: building, account and administrator are lost; does the copy bring the system back?"""
