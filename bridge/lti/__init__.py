"""LTI 1.3 and Advantage (https://www.imsglobal.org/spec/lti/v1p3), both roles.

``platform`` launches content tools, ``tool`` is launched by LMSs; what both need lies beside them: keys, peers' key
sets, the fields of service requests, the names that the specifications fix.
"""
